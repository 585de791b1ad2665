#include "compute/slurm_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "json/fields.h"

namespace lathe::compute {
namespace {

constexpr std::int64_t kMost = 1'000'000;

/// What is an argument of sbatch: no spaces, nothing that a shell or a list of Slurm's would take for more than a name.
Result<void> take_word(const json::Object& document, std::string_view key, std::string& into) {
  LATHE_TRY(auto value, json::get_string(document, key));
  if (!value) return {};
  const bool good = value->size() <= 128 && std::all_of(value->begin(), value->end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '+' || c == ':';
                    });
  if (!good)
    return fail(Code::invalid, fmt::format("{}: must be a name that Slurm knows, not \"{}\"", key, printable(*value)));
  into = std::move(*value);
  return {};
}

Result<void> take_count(const json::Object& document, std::string_view key, std::int64_t& into) {
  const auto value = json::get_int(document, key);
  if (!value || (*value && (**value < 0 || **value > kMost)))
    return fail(Code::invalid, fmt::format("{}: must be a whole number from 0 to {}, not {}", key, kMost,
                                           json::print(*json::find(document, key))));
  if (*value) into = **value;
  return {};
}

}  // namespace

Result<std::int64_t> parse_memory(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  auto unit =
      to_lower(std::string(trim(std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)))));
  if (unit.ends_with("ib"))
    unit.erase(unit.size() - 2);
  else if (unit.ends_with("b"))
    unit.pop_back();
  const int shift = unit.empty() || unit == "m" ? 20 : unit == "g" ? 30 : unit == "t" ? 40 : 0;
  if (error != std::errc{} || value < 0 || value > kMost || shift == 0)
    return fail(Code::invalid, fmt::format("must be an amount such as 16G, not \"{}\"", printable(text)));
  return value << shift;
}

Result<Target> read_slurm_target(const json::Object& document, const Target& base, json::Report&) {
  static const std::vector<std::string> kKnown = {"$schema", "name", "type",  "description", "tags", "partition",
                                                  "account", "qos",  "cores", "memory",      "gpus"};
  for (const auto& member : document) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end())
      return fail(Code::invalid, fmt::format("{}: {}", key, unknown_name("field", key, kKnown)));
  }
  auto target = base;
  target.type = "slurm";
  target.size.clear();
  auto partition = target.partition.value_or(Partition{});
  LATHE_CHECK(take_word(document, "partition", partition.name));
  LATHE_CHECK(take_word(document, "account", partition.account));
  LATHE_CHECK(take_word(document, "qos", partition.qos));
  LATHE_CHECK(take_count(document, "cores", partition.cores));
  LATHE_CHECK(take_count(document, "gpus", partition.gpus));
  if (partition.name.empty()) return fail(Code::invalid, "partition: is missing; `sinfo` on the cluster lists them");
  if (const auto* memory = json::find(document, "memory"); memory != nullptr && !memory->is_null()) {
    const auto amount = parse_memory(memory->is_string() ? json::view(memory->get_string()) : json::print(*memory));
    if (!amount) return fail_in("memory", amount.error());
    partition.memory_bytes = *amount;
  }
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  if (description) target.description = *description;
  if (const auto* tags = json::find(document, "tags")) {
    LATHE_TRY(target.tags, json::from_json<decltype(target.tags)>(*tags, "tags"));
  }
  target.partition = partition;
  return target;
}

}  // namespace lathe::compute
