#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "base/time_zone.h"
#include "json/json.h"
#include "json/report.h"

/// When a schedule acts: Azure's triggers. Pure: the time is an argument.
namespace lathe::compute {

/// Times at which something happens, to the minute, on the clock of a place.
///
/// A cron expression has minute, hour, day of the month, month and day of the week, with lists, ranges, steps and English
/// names; where both days are given, either will do (as in cron(8)). A recurrence counts from its start, or from
/// 1970-01-01 (a Thursday; weeks begin on Mondays) without one. What would be at a time that the clock leaps over happens as
/// much later as it leaps; what would be at a time that comes twice happens the first time.
class Trigger {
 public:
  /// Reads `trigger` of an Azure schedule. Errors: `invalid`, beginning with the field below `path`.
  static Result<Trigger> read(const json::Object& document, const std::string& path, json::Report& report);

  /// The first time after `time`; nullopt: never again (or not within ten years).
  std::optional<Time> next_after(Time time) const;

 private:
  enum class Frequency { cron, minute, hour, day, week, month };

  Result<void> read_cron(const json::Object& document, const std::string& path);
  Result<void> read_recurrence(const json::Object& document, const std::string& path);
  Result<void> read_times(const json::Object& schedule, const std::string& path);
  bool on_day(std::chrono::local_days day) const;
  std::optional<LocalSeconds> next_on_days(LocalSeconds after) const;

  Frequency frequency_ = Frequency::cron;
  std::int64_t interval_ = 1;
  std::set<int> minutes_, hours_, month_days_, months_, week_days_;  ///< 0 is Sunday; empty month or week days: all
  LocalSeconds anchor_{};
  std::optional<Time> start_;
  std::optional<Time> end_;
  TimeZone zone_;
};

}  // namespace lathe::compute
