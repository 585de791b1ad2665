#include "compute/policy.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text.h"

namespace lathe::compute {

Result<Policy> policy_named(std::string_view name) {
  if (name == "fifo") return Policy{.tiers = false, .fair = false, .backfill = false, .preempt = false};
  if (name == "backfill") return Policy{.tiers = false, .fair = false, .backfill = true, .preempt = false};
  if (name == "priority") return Policy{.tiers = true, .fair = false, .backfill = true, .preempt = true};
  if (name == "fair") return Policy{};
  return fail(Code::invalid, unknown_name("policy", name, {"fair", "priority", "backfill", "fifo"}));
}

Result<std::map<std::string, std::int64_t>> read_quotas(const std::vector<std::string>& parts) {
  std::map<std::string, std::int64_t> out;
  for (const auto& part : parts) {
    const auto equals = part.rfind('=');
    const auto digits = std::string_view(part).substr(std::min(equals == std::string::npos ? part.size() : equals + 1, part.size()));
    std::int64_t nodes = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), nodes);
    if (equals == 0 || equals == std::string::npos || error != std::errc{} || end != digits.data() + digits.size() || nodes < 0)
      return fail(Code::invalid, fmt::format("must be parts like alice=2 or *=4, a user and how many nodes, not \"{}\"", part));
    out[std::string(trim(std::string_view(part).substr(0, equals)))] = nodes;
  }
  return out;
}

}  // namespace lathe::compute
