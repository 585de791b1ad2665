#pragma once

#include "json/fields.h"
#include "tracking/history.h"

/// Metrics as charts draw them: few points, whatever the store holds.
namespace lathe::tracking {

enum class Axis : std::uint8_t { step, time };

struct SeriesQuery {
  std::vector<std::string> runs = {};
  std::vector<std::string> keys = {};
  std::size_t points = 1000;  ///< at most so many of each series
  Axis by = Axis::step;
  std::optional<std::int64_t> from = {};  ///< on the axis, both ends included
  std::optional<std::int64_t> to = {};
};
constexpr std::size_t kMostSeries = 100;
constexpr std::size_t kFewestPointsPerSeries = 10;
constexpr std::size_t kMostPointsPerSeries = 10'000;

/// One metric of one run, in the order of the axis.
struct Series {
  std::string run_id;
  std::string key;
  std::optional<std::int64_t> total;
  std::vector<std::int64_t> steps;
  std::vector<std::int64_t> timestamps;
  std::vector<std::optional<double>> values;
};
struct SeriesAnswer {
  std::vector<Series> series;
};

/// Each metric that there is of each run. A metric of up to about 130,000 points is read whole and downsampled
/// (tracking/downsample.h): its peaks stay. Of a longer one short stretches are read, spread over its time, since a
/// chart must not take longer the longer a run goes on: `total` is absent then, and a peak between them is not seen.
/// Errors: `invalid` — numbers out of range; `not_found` — no such run.
Result<SeriesAnswer> read_series(db::Connection& c, const SeriesQuery& query);

}  // namespace lathe::tracking

namespace lathe::json {

template <>
struct Fields<tracking::Series> {
  static constexpr std::string_view name = "Series";
  static constexpr auto list =
      std::tuple{field("run_id", &tracking::Series::run_id),
                 field("key", &tracking::Series::key),
                 field("total", &tracking::Series::total,
                       "points in the range; absent: too many to read them all, and peaks may be missing here"),
                 field("steps", &tracking::Series::steps),
                 field("timestamps", &tracking::Series::timestamps, "milliseconds"),
                 field("values", &tracking::Series::values, "null: not a number")};
};
template <>
struct Fields<tracking::SeriesAnswer> {
  static constexpr std::string_view name = "SeriesAnswer";
  static constexpr auto list = std::tuple{field("series", &tracking::SeriesAnswer::series)};
};

}  // namespace lathe::json
