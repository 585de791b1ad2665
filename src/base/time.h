#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe {

/// Wall-clock time with microseconds, as the store keeps it.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

/// The wall clock.
Time now();

inline std::int64_t micros(Time time) { return time.time_since_epoch().count(); }
inline std::int64_t millis(Time time) { return micros(time) / 1000; }
inline Time from_micros(std::int64_t value) { return Time{std::chrono::microseconds{value}}; }

/// "2026-05-01T12:30:00.123456Z", always UTC.
std::string to_iso8601(Time time);

/// Whole seconds from "90", "90s", "5m", "2h", "1d" or an ISO 8601 duration "PT1H30M". Errors: `invalid`.
Result<std::chrono::seconds> parse_duration(std::string_view text);
/// The shortest of "PT2H", "PT90M", "PT45S".
std::string print_duration(std::chrono::seconds duration);

}  // namespace lathe
