#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "json/fields.h"
#include "json/report.h"

/// How a model's requests are queued, batched, cached and warmed up: the part of Triton's model configuration that a
/// deployment may set, in the names and the JSON form of its config.pbtxt. The server checks and keeps it, the data
/// plane follows it.
namespace lathe {

struct QueuePolicy {
  std::string timeout_action = "REJECT";          ///< or "DELAY"
  std::int64_t default_timeout_microseconds = 0;  ///< 0: none
  bool allow_timeout_override = false;            ///< a request may ask for a shorter one
  std::int64_t max_queue_size = 0;                ///< requests; 0: unlimited

  bool operator==(const QueuePolicy&) const = default;
};

struct DynamicBatching {
  std::vector<std::int64_t> preferred_batch_size;  ///< rows, ascending, each once
  std::int64_t max_queue_delay_microseconds = 0;
  bool preserve_ordering = false;
  std::int64_t priority_levels = 0;  ///< 1 is served first; 0: requests have no priorities
  std::int64_t default_priority_level = 0;
  QueuePolicy default_queue_policy;
  std::map<std::string, QueuePolicy> priority_queue_policy;  ///< by level

  bool operator==(const DynamicBatching&) const = default;
};

struct ResponseCacheConfig {
  bool enable = false;

  bool operator==(const ResponseCacheConfig&) const = default;
};

struct WarmupInput {
  std::string data_type;           ///< "TYPE_FP32", ...
  std::vector<std::int64_t> dims;  ///< without the batch's, where max_batch_size is not 0
  bool zero_data = false;
  bool random_data = false;  ///< exactly one of the two

  bool operator==(const WarmupInput&) const = default;
};

/// One request that a model must answer before it takes traffic.
struct Warmup {
  std::string name;
  std::int64_t batch_size = 1;
  std::map<std::string, WarmupInput> inputs;
  std::int64_t count = 0;  ///< how often; 0: once

  bool operator==(const Warmup&) const = default;
};

struct ModelConfig {
  std::int64_t max_batch_size = 0;  ///< rows; 0: as many as come
  std::optional<DynamicBatching> dynamic_batching;
  std::optional<ResponseCacheConfig> response_cache;
  std::vector<Warmup> model_warmup;

  bool operator==(const ModelConfig&) const = default;
  bool caches() const { return response_cache && response_cache->enable; }
};

/// Reads and checks one; members that it does not know are left alone. `where` begins the path in errors.
/// Errors: `invalid`, naming the field and what it may be.
Result<ModelConfig> read_model_config(const json::Object& object, const std::string& where);

/// What becomes of the members that `read_model_config` does not read: some of Triton's are ignored, which the report
/// tells. Errors: `invalid` — one that would change what is answered, or is none of Triton's.
Result<void> check_model_config_fields(const json::Object& object, const std::string& where, json::Report& report);

}  // namespace lathe

namespace lathe::json {

template <>
struct Fields<QueuePolicy> {
  static constexpr std::string_view name = "ModelQueuePolicy";
  static constexpr auto list =
      std::tuple{field("timeout_action", &QueuePolicy::timeout_action, "REJECT or DELAY"),
                 field("default_timeout_microseconds", &QueuePolicy::default_timeout_microseconds, "0: none"),
                 field("allow_timeout_override", &QueuePolicy::allow_timeout_override, "a request may shorten it"),
                 field("max_queue_size", &QueuePolicy::max_queue_size, "0: unlimited")};
};

template <>
struct Fields<DynamicBatching> {
  static constexpr std::string_view name = "ModelDynamicBatching";
  static constexpr auto list =
      std::tuple{field("preferred_batch_size", &DynamicBatching::preferred_batch_size, "rows"),
                 field("max_queue_delay_microseconds", &DynamicBatching::max_queue_delay_microseconds),
                 field("preserve_ordering", &DynamicBatching::preserve_ordering),
                 field("priority_levels", &DynamicBatching::priority_levels, "1 is served first; 0: no priorities"),
                 field("default_priority_level", &DynamicBatching::default_priority_level),
                 field("default_queue_policy", &DynamicBatching::default_queue_policy),
                 field("priority_queue_policy", &DynamicBatching::priority_queue_policy, "by level")};
};

template <>
struct Fields<ResponseCacheConfig> {
  static constexpr std::string_view name = "ModelResponseCache";
  static constexpr auto list = std::tuple{field("enable", &ResponseCacheConfig::enable)};
};

template <>
struct Fields<WarmupInput> {
  static constexpr std::string_view name = "ModelWarmupInput";
  static constexpr auto list =
      std::tuple{field("data_type", &WarmupInput::data_type, "TYPE_FP32, ..."), field("dims", &WarmupInput::dims),
                 field("zero_data", &WarmupInput::zero_data), field("random_data", &WarmupInput::random_data)};
};

template <>
struct Fields<Warmup> {
  static constexpr std::string_view name = "ModelWarmup";
  static constexpr auto list = std::tuple{field("name", &Warmup::name), field("batch_size", &Warmup::batch_size),
                                          field("inputs", &Warmup::inputs), field("count", &Warmup::count, "0: once")};
};

template <>
struct Fields<ModelConfig> {
  static constexpr std::string_view name = "ModelConfig";
  static constexpr auto list =
      std::tuple{field("max_batch_size", &ModelConfig::max_batch_size, "rows; 0: as many as come"),
                 field("dynamic_batching", &ModelConfig::dynamic_batching, "absent: each request is run alone"),
                 field("response_cache", &ModelConfig::response_cache),
                 field("model_warmup", &ModelConfig::model_warmup, "requests to answer before it takes traffic")};
};

}  // namespace lathe::json
