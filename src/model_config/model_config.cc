#include "model_config/model_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "base/text.h"

namespace lathe {
namespace {

constexpr std::int64_t kMostRows = 65'536;
constexpr std::int64_t kMostLevels = 1'000;
constexpr std::int64_t kMostDelayUs = 60'000'000;
constexpr std::int64_t kMostTimeoutUs = 86'400'000'000;
constexpr std::int64_t kMostWarmups = 1'000;
constexpr std::int64_t kMostRuns = 10'000;

constexpr std::array<std::string_view, 14> kDataTypes{
    "TYPE_BOOL",  "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8",   "TYPE_INT16",
    "TYPE_INT32", "TYPE_INT64", "TYPE_FP16",   "TYPE_FP32",   "TYPE_FP64",   "TYPE_STRING", "TYPE_BF16"};

std::string key_of(const json::Object::value_type& member) {
  return {member.key().data(), member.key().size()};
}

/// One object of the document, which knows where it stands.
class Reader {
 public:
  Reader(const json::Object& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json::Object& object() const { return object_; }
  std::string path(std::string_view key) const { return where_ + "." + std::string(key); }
  tl::unexpected<Error> wrong(std::string_view key, const std::string& why) const {
    return fail(Code::invalid, path(key) + ": " + why);
  }

  Result<void> number(std::string_view key, std::int64_t least, std::int64_t most, std::int64_t& out) const {
    const auto value = json::get_int(object_, key);
    if (value && !*value) return {};
    if (!value || **value < least || **value > most)
      return wrong(key, "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
                            ", not " + json::print(*json::find(object_, key)));
    out = **value;
    return {};
  }

  Result<void> truth(std::string_view key, bool& out) const {
    const auto value = json::get_bool(object_, key);
    if (!value) return wrong(key, "must be true or false");
    out = value->value_or(out);
    return {};
  }

  Result<void> text(std::string_view key, std::string& out) const {
    const auto value = json::get_string(object_, key);
    if (!value) return wrong(key, "must be a text");
    if (*value) out = **value;
    return {};
  }

  Result<const json::Array*> list(std::string_view key) const {
    const auto value = json::get_array(object_, key);
    if (!value) return wrong(key, "must be a list");
    return *value;
  }

  /// Null when it is absent. A member that is there without a value is easily meant to be one.
  Result<const json::Object*> object_of(std::string_view key) const {
    const auto value = json::get_object(object_, key);
    if (!value) return wrong(key, "must be an object");
    if (*value == nullptr && object_.contains(boost::json::string_view(key.data(), key.size())))
      return wrong(key, "is empty: write {} for its defaults, or leave it out");
    return *value;
  }

  Result<void> numbers(std::string_view key, std::int64_t least, std::int64_t most,
                       std::vector<std::int64_t>& out) const {
    LATHE_TRY(const auto* const items, list(key));
    if (items == nullptr) return {};
    for (const auto& item : *items) {
      const Reader one(json::Object{{"", item}}, path(key));
      std::int64_t value = least - 1;
      if (!one.number("", least, most, value) || value < least)
        return wrong(key, "must hold whole numbers from " + std::to_string(least) + " to " + std::to_string(most) +
                              ", not " + json::print(item));
      out.push_back(value);
    }
    return {};
  }

 private:
  const json::Object object_;
  const std::string where_;
};

Result<QueuePolicy> read_policy(const Reader& read) {
  QueuePolicy policy;
  LATHE_CHECK(read.text("timeout_action", policy.timeout_action));
  if (policy.timeout_action != "REJECT" && policy.timeout_action != "DELAY")
    return read.wrong("timeout_action", "must be REJECT or DELAY, not \"" + printable(policy.timeout_action) + "\"");
  LATHE_CHECK(read.number("default_timeout_microseconds", 0, kMostTimeoutUs, policy.default_timeout_microseconds));
  LATHE_CHECK(read.truth("allow_timeout_override", policy.allow_timeout_override));
  LATHE_CHECK(read.number("max_queue_size", 0, std::numeric_limits<std::uint32_t>::max(), policy.max_queue_size));
  return policy;
}

Result<void> read_level_policies(const Reader& read, DynamicBatching& batching) {
  LATHE_TRY(const auto* const policies, read.object_of("priority_queue_policy"));
  if (policies == nullptr) return {};
  for (const auto& member : *policies) {
    const auto level = key_of(member);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(level.data(), level.data() + level.size(), number);
    if (error != std::errc{} || end != level.data() + level.size() || level != std::to_string(number) || number < 1 ||
        number > batching.priority_levels)
      return read.wrong("priority_queue_policy", "\"" + printable(level) + "\" is not a level from 1 to " +
                                                     std::to_string(batching.priority_levels) + " (priority_levels)");
    if (!member.value().is_object()) return read.wrong("priority_queue_policy", "must hold an object for each level");
    LATHE_TRY(batching.priority_queue_policy[level],
              read_policy({member.value().get_object(), read.path("priority_queue_policy") + "." + level}));
  }
  return {};
}

/// A request that is put behind others is not answered in its turn.
Result<void> check_ordering(const Reader& read, const DynamicBatching& batching) {
  if (!batching.preserve_ordering) return {};
  if (batching.priority_levels > 1)
    return read.wrong("preserve_ordering", "excludes priorities: set priority_levels to 0 or 1");
  const auto delays = [](const QueuePolicy& policy) { return policy.timeout_action == "DELAY"; };
  const bool any = std::any_of(batching.priority_queue_policy.begin(), batching.priority_queue_policy.end(),
                               [&](const auto& each) { return delays(each.second); });
  if (any || delays(batching.default_queue_policy))
    return read.wrong("preserve_ordering", "excludes the timeout_action DELAY");
  return {};
}

Result<DynamicBatching> read_batching(const Reader& read, std::int64_t max_batch_size) {
  DynamicBatching out;
  LATHE_CHECK(read.numbers("preferred_batch_size", 1, max_batch_size, out.preferred_batch_size));
  auto& preferred = out.preferred_batch_size;
  std::sort(preferred.begin(), preferred.end());
  preferred.erase(std::unique(preferred.begin(), preferred.end()), preferred.end());
  LATHE_CHECK(read.number("max_queue_delay_microseconds", 0, kMostDelayUs, out.max_queue_delay_microseconds));
  LATHE_CHECK(read.truth("preserve_ordering", out.preserve_ordering));
  LATHE_CHECK(read.number("priority_levels", 0, kMostLevels, out.priority_levels));
  LATHE_CHECK(read.number("default_priority_level", 0, kMostLevels, out.default_priority_level));
  const auto least = out.priority_levels > 0 ? 1 : 0;
  if (out.default_priority_level < least || out.default_priority_level > out.priority_levels)
    return read.wrong("default_priority_level", "must be from " + std::to_string(least) + " to " +
                                                    std::to_string(out.priority_levels) + " (priority_levels)");
  LATHE_TRY(const auto* const policy, read.object_of("default_queue_policy"));
  if (policy != nullptr) {
    LATHE_TRY(out.default_queue_policy, read_policy({*policy, read.path("default_queue_policy")}));
  }
  LATHE_CHECK(read_level_policies(read, out));
  LATHE_CHECK(check_ordering(read, out));
  return out;
}

Result<WarmupInput> read_warmup_input(const Reader& read) {
  WarmupInput out;
  LATHE_CHECK(read.text("data_type", out.data_type));
  if (std::find(kDataTypes.begin(), kDataTypes.end(), out.data_type) == kDataTypes.end())
    return read.wrong("data_type", out.data_type.empty() ? "is missing: TYPE_FP32, TYPE_INT64, TYPE_STRING, ..."
                                                         : unknown_name("type", printable(out.data_type),
                                                                        {kDataTypes.begin(), kDataTypes.end()}));
  LATHE_CHECK(read.numbers("dims", 1, std::numeric_limits<std::int32_t>::max(), out.dims));
  LATHE_CHECK(read.truth("zero_data", out.zero_data));
  LATHE_CHECK(read.truth("random_data", out.random_data));
  if (json::find(read.object(), "input_data_file") != nullptr)
    return read.wrong("input_data_file", "a deployment has no files beside its model: use zero_data or random_data");
  if (out.zero_data == out.random_data)
    return read.wrong(out.zero_data ? "random_data" : "zero_data", "give one of zero_data: true and random_data: true");
  if (out.random_data && out.data_type == "TYPE_STRING")
    return read.wrong("random_data", "there are no random texts: use zero_data, which gives empty ones");
  return out;
}

Result<Warmup> read_warmup(const Reader& read, std::int64_t max_batch_size) {
  Warmup out;
  LATHE_CHECK(read.text("name", out.name));
  LATHE_CHECK(read.number("batch_size", 1, std::max<std::int64_t>(max_batch_size, 1), out.batch_size));
  LATHE_CHECK(read.number("count", 0, kMostRuns, out.count));
  LATHE_TRY(const auto* const inputs, read.object_of("inputs"));
  if (inputs == nullptr || inputs->empty()) return read.wrong("inputs", "is missing: one for each input of the model");
  for (const auto& member : *inputs) {
    const auto name = key_of(member);
    if (!member.value().is_object()) return read.wrong("inputs", "must hold an object for each input");
    LATHE_TRY(out.inputs[name], read_warmup_input({member.value().get_object(), read.path("inputs") + "." + name}));
  }
  return out;
}

struct Foreign {
  std::string_view field;
  bool refused;
  std::string_view why;
};

constexpr Foreign kForeign[] = {{"name", false, "the endpoint's and the deployment's names are used"},
                                {"platform", false, "it follows from the model's format"},
                                {"backend", false, "it follows from the model's format"},
                                {"runtime", false, "it follows from the model's format"},
                                {"default_model_filename", false, "the registered model names its file"},
                                {"cc_model_filenames", false, "the registered model names its file"},
                                {"input", false, "the model's file tells its inputs"},
                                {"output", false, "the model's file tells its outputs"},
                                {"optimization", false, "the runtimes choose their own"},
                                {"parameters", false, "the runtimes take none"},
                                {"metric_tags", false, "metrics carry the endpoint's and the deployment's names"},
                                {"model_metrics", false, "metrics have fixed bounds"},
                                {"instance_group", true, "use the deployment's instance_count"},
                                {"version_policy", true, "a deployment serves one version: its field model names it"},
                                {"sequence_batching", true, "sequences are not kept here"},
                                {"ensemble_scheduling", true, "ensembles are not served here"},
                                {"batch_input", true, "there are none of the kinds here"},
                                {"batch_output", true, "there are none of the kinds here"},
                                {"model_operations", true, "no libraries are loaded for a model"},
                                {"model_transaction_policy", true, "each request has one answer"},
                                {"model_repository_agents", true, "models come from the registry"}};

constexpr std::array<std::string_view, 4> kOwn{"max_batch_size", "dynamic_batching", "response_cache", "model_warmup"};

Result<void> check_names(const json::Object& object, const std::string& where, const std::vector<std::string>& known) {
  for (const auto& member : object)
    if (const auto key = key_of(member); std::find(known.begin(), known.end(), key) == known.end())
      return fail(Code::invalid, where + "." + printable(key) + ": " + unknown_name("field", printable(key), known));
  return {};
}

/// Names inside of what `read_model_config` has found to be well-formed.
Result<void> check_inner_names(const json::Object& object, const std::string& where) {
  const std::vector<std::string> policy{"timeout_action", "default_timeout_microseconds", "allow_timeout_override",
                                        "max_queue_size"};
  if (const auto* const batching = json::find(object, "dynamic_batching")) {
    const auto path = where + ".dynamic_batching";
    const auto& fields = batching->get_object();
    LATHE_CHECK(
        check_names(fields, path,
                    {"preferred_batch_size", "max_queue_delay_microseconds", "preserve_ordering", "priority_levels",
                     "default_priority_level", "default_queue_policy", "priority_queue_policy"}));
    if (const auto* const one = json::find(fields, "default_queue_policy"))
      LATHE_CHECK(check_names(one->get_object(), path + ".default_queue_policy", policy));
    if (const auto* const all = json::find(fields, "priority_queue_policy"))
      for (const auto& member : all->get_object())
        LATHE_CHECK(
            check_names(member.value().get_object(), path + ".priority_queue_policy." + key_of(member), policy));
  }
  if (const auto* const cache = json::find(object, "response_cache"))
    LATHE_CHECK(check_names(cache->get_object(), where + ".response_cache", {"enable"}));
  const auto* const warmups = json::find(object, "model_warmup");
  for (std::size_t i = 0; warmups != nullptr && i < warmups->get_array().size(); ++i) {
    const auto path = where + ".model_warmup[" + std::to_string(i) + "]";
    const auto& warmup = warmups->get_array()[i].get_object();
    LATHE_CHECK(check_names(warmup, path, {"name", "batch_size", "inputs", "count"}));
    for (const auto& member : json::find(warmup, "inputs")->get_object())
      LATHE_CHECK(check_names(member.value().get_object(), path + ".inputs." + key_of(member),
                              {"data_type", "dims", "zero_data", "random_data", "input_data_file"}));
  }
  return {};
}

}  // namespace

Result<ModelConfig> read_model_config(const json::Object& object, const std::string& where) {
  const Reader read(object, where);
  ModelConfig out;
  LATHE_CHECK(read.number("max_batch_size", 0, kMostRows, out.max_batch_size));
  LATHE_TRY(const auto* const batching, read.object_of("dynamic_batching"));
  if (batching != nullptr) {
    if (out.max_batch_size == 0) return read.wrong("max_batch_size", "dynamic_batching needs it: 1 or more rows");
    LATHE_TRY(out.dynamic_batching, read_batching({*batching, read.path("dynamic_batching")}, out.max_batch_size));
  }
  LATHE_TRY(const auto* const cache, read.object_of("response_cache"));
  if (cache != nullptr) {
    out.response_cache.emplace();
    LATHE_CHECK(Reader(*cache, read.path("response_cache")).truth("enable", out.response_cache->enable));
  }
  LATHE_TRY(const auto* const warmups, read.list("model_warmup"));
  if (warmups == nullptr) return out;
  if (warmups->size() > kMostWarmups)
    return read.wrong("model_warmup", "holds more than " + std::to_string(kMostWarmups) + " requests");
  for (const auto& item : *warmups) {
    const auto path = read.path("model_warmup") + "[" + std::to_string(out.model_warmup.size()) + "]";
    if (!item.is_object()) return fail(Code::invalid, path + ": must be an object");
    LATHE_TRY(auto warmup, read_warmup({item.get_object(), path}, out.max_batch_size));
    out.model_warmup.push_back(std::move(warmup));
  }
  return out;
}

Result<void> check_model_config_fields(const json::Object& object, const std::string& where, json::Report& report) {
  for (const auto& member : object) {
    const auto key = key_of(member);
    if (std::find(kOwn.begin(), kOwn.end(), key) != kOwn.end()) continue;
    const auto path = where + "." + printable(key);
    const auto* const foreign =
        std::find_if(std::begin(kForeign), std::end(kForeign), [&](const auto& each) { return each.field == key; });
    if (foreign == std::end(kForeign))
      return fail(Code::invalid, path + ": " + unknown_name("field", printable(key), {kOwn.begin(), kOwn.end()}));
    if (foreign->refused) return fail(Code::invalid, path + ": " + std::string(foreign->why));
    report.push_back({path, "ignored", std::string(foreign->why)});
  }
  return check_inner_names(object, where);
}

}  // namespace lathe
