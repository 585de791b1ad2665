#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/fields.h"

/// What a deployment must keep to while more of the traffic goes to it.
namespace lathe::serving {

/// What a deployment's requests came to, as the data plane counts them since it, or the deployment, began.
struct Sample {
  std::int64_t requests = 0;
  std::int64_t errors = 0;     ///< that were the deployment's own: 5xx, and 424 of a scoring script
  std::int64_t succeeded = 0;  ///< those that the times are of
  std::int64_t total_us = 0;
  std::map<std::string, std::int64_t> latency_us;  ///< how many, by the longest time of a bucket
  std::int64_t began_us = 0;                       ///< when the counting began: another one, another data plane

  bool operator==(const Sample&) const = default;
};

/// What came between two samples; all of `later` where the counts began anew between them.
Sample between(const Sample& earlier, const Sample& later);
/// All of both. `began_us` is that of `later`.
Sample together(const Sample& earlier, const Sample& later);
/// The time that this part (0 to 1) of the requests that succeeded stays within, to 1/16; 0 where none did.
std::int64_t quantile_us(const Sample& sample, double part);

struct Condition {
  std::string text;    ///< "p99<50ms"
  std::string metric;  ///< "p50", "p90", "p95", "p99", "mean" or "errors"
  double limit = 0;    ///< microseconds, or a part of the requests
  bool or_equal = false;
};

/// "p99<50ms,errors<1%". Errors: `invalid`, naming the part.
Result<std::vector<Condition>> parse_guard(std::string_view text);
/// Why the first condition that does not hold does not.
std::optional<std::string> find_violation(const std::vector<Condition>& guard, const Sample& sample);

constexpr std::int64_t kLeastRequests = 20;  ///< fewer are not judged

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::Sample> {
  static constexpr std::string_view name = "Sample";
  using T = serving::Sample;
  static constexpr auto list =
      std::tuple{field("requests", &T::requests), field("errors", &T::errors), field("succeeded", &T::succeeded),
                 field("total_us", &T::total_us), field("latency_us", &T::latency_us),
                 field("began_us", &T::began_us)};
};

}  // namespace lathe::json
