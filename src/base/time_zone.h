#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace lathe {

/// Seconds of a wall clock somewhere, counted as if it were UTC's.
using LocalSeconds = std::chrono::local_seconds;

/// The wall clock of a place, from the machine's time zone files (TZif, RFC 8536). Immutable.
class TimeZone {
 public:
  /// By an IANA name ("Europe/Berlin"), by a name that Windows has ("Pacific Standard Time"), or "UTC".
  /// Errors: `invalid` — no such zone, or this machine has no time zone files.
  static Result<TimeZone> find(std::string_view name);
  /// From a file's content. Errors: `invalid`.
  static Result<TimeZone> parse(std::string_view content);

  LocalSeconds local(Time time) const;
  /// Of a time that a clock shows twice the first; one that it leaps over is as much later as it leaps.
  Time utc(LocalSeconds local) const;

 private:
  struct Change {
    std::int64_t at = 0;  ///< UTC, in seconds since 1970
    std::int64_t offset = 0;  ///< from then on, in seconds east of UTC
  };
  /// "M3.2.0/2": a day of the year, and a time on it.
  struct Rule {
    char kind = 'M';  ///< M: month, week, day of the week; J: a day from 1, without February 29; 0: a day from 0
    int month = 0, week = 0, day = 0;
    std::int64_t time = 7200;
    std::int64_t seconds_in(int year) const;  ///< local, since 1970
  };
  friend class TzParser;

  std::int64_t offset_at(std::int64_t utc) const;
  std::int64_t offset_by_rule(std::int64_t utc) const;

  std::int64_t first_offset_ = 0;
  std::vector<Change> changes_;
  /// For the time after the last change.
  std::int64_t standard_ = 0;
  std::int64_t summer_ = 0;
  bool has_summer_ = false;
  Rule begins_, ends_;
};

/// "Pacific Standard Time" -> "America/Los_Angeles"; empty when Windows has no such name.
std::string_view iana_name(std::string_view windows_name);

}  // namespace lathe
