#include "base/time.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>
#include <limits>

namespace lathe {
namespace {

/// Reads a whole number from the front of `text`. Errors: `invalid`.
Result<std::int64_t> take_number(std::string_view& text, std::string_view whole) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0)
    return fail(Code::invalid, fmt::format("not a duration: \"{}\" (examples: 90, 90s, 5m, 2h, PT1H30M)", whole));
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::int64_t seconds_per(char unit) {
  switch (unit) {
    case 's': case 'S': return 1;
    case 'm': case 'M': return 60;
    case 'h': case 'H': return 3600;
    case 'd': case 'D': return 86400;
    default: return 0;
  }
}

}  // namespace

Time now() { return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now()); }

std::string to_iso8601(Time time) {
  const auto since = micros(time);
  const auto seconds = static_cast<std::time_t>(since >= 0 ? since / 1'000'000 : (since - 999'999) / 1'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, since - std::int64_t{seconds} * 1'000'000);
}

Result<std::chrono::seconds> parse_duration(std::string_view text) {
  const std::string_view whole = text;
  if (text.starts_with("PT"))
    text.remove_prefix(2);
  else if (text.starts_with("P"))
    text.remove_prefix(1);

  std::int64_t total = 0;
  do {
    LATHE_TRY(const auto value, take_number(text, whole));
    if (text.starts_with("T")) text.remove_prefix(1);
    const std::int64_t scale = text.empty() ? 1 : seconds_per(text.front());
    if (scale == 0 || value > (std::numeric_limits<std::int64_t>::max() / 2 - total) / scale)
      return fail(Code::invalid, fmt::format("not a duration: \"{}\" (examples: 90, 90s, 5m, 2h, PT1H30M)", whole));
    if (!text.empty()) text.remove_prefix(1);
    if (text.starts_with("T")) text.remove_prefix(1);
    total += value * scale;
  } while (!text.empty());
  return std::chrono::seconds{total};
}

std::string print_duration(std::chrono::seconds duration) {
  const auto count = duration.count();
  if (count > 0 && count % 3600 == 0) return "PT" + std::to_string(count / 3600) + "H";
  if (count > 0 && count % 60 == 0) return "PT" + std::to_string(count / 60) + "M";
  return "PT" + std::to_string(count) + "S";
}

}  // namespace lathe
