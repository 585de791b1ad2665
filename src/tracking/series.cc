#include "tracking/series.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

#include "tracking/downsample.h"
#include "tracking/run_rows.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostRead = 131'072;  ///< points of one request that are read whole
constexpr std::size_t kMostWindows = 512;   ///< of one request
constexpr std::int64_t kWindow = 32;        ///< points of a stretch

/// What of a metric is asked for: a range of time, for the store, and of steps, which it has no order of.
struct Range {
  std::int64_t first_ms, last_ms, first_step, last_step;
};

Range range_of(const SeriesQuery& query) {
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  const auto from = query.from.value_or(kLeast), to = query.to.value_or(kMost);
  if (query.by == Axis::time) return {from, to, kLeast, kMost};
  return {kLeast, kMost, from, to};
}

Result<std::vector<Point>> read_between(db::Connection& c, std::int64_t metric, std::int64_t first_ms,
                                        std::int64_t last_ms, std::int64_t limit) {
  static constexpr auto kSql = R"sql(
    SELECT timestamp_ms, step, value, is_nan FROM metric_point
     WHERE metric = $1 AND timestamp_ms >= $2 AND timestamp_ms <= $3
     ORDER BY timestamp_ms, step, value, is_nan LIMIT $4)sql";
  return db::all(c, kSql, read_point, metric, first_ms, last_ms, limit);
}

Result<std::optional<Point>> read_last(db::Connection& c, std::int64_t metric, const Range& range) {
  static constexpr auto kSql = R"sql(
    SELECT timestamp_ms, step, value, is_nan FROM metric_point
     WHERE metric = $1 AND timestamp_ms >= $2 AND timestamp_ms <= $3
     ORDER BY timestamp_ms DESC, step DESC, value DESC, is_nan DESC LIMIT 1)sql";
  return db::first(c, kSql, read_point, metric, range.first_ms, range.last_ms);
}

/// Whether the metric has more points in the range. Counting is cheaper than reading, but not for nothing: it is done
/// where the steps say that there are many.
Result<bool> has_more_than(db::Connection& c, std::int64_t metric, const Range& range, std::size_t most) {
  static constexpr auto kSteps = "SELECT step FROM metric WHERE id = $1";
  static constexpr auto kSql = R"sql(
    SELECT 1 FROM metric_point WHERE metric = $1 AND timestamp_ms >= $2 AND timestamp_ms <= $3
     ORDER BY timestamp_ms LIMIT 1 OFFSET $4)sql";
  LATHE_TRY(const auto step, db::first(
                                 c, kSteps, [](const db::Row& row) { return row.integer(0); }, metric));
  if (!step || *step < static_cast<std::int64_t>(most)) return false;
  LATHE_TRY(const auto found, db::first(
                                  c, kSql, [](const db::Row&) { return true; }, metric, range.first_ms, range.last_ms,
                                  static_cast<std::int64_t>(most)));
  return found.has_value();
}

/// A stretch of time that begins with a point, and of which only the beginning was read.
struct Stretch {
  std::int64_t first_ms, end_ms;
  bool operator<(const Stretch& other) const { return end_ms - first_ms < other.end_ms - other.first_ms; }
};

/// The beginnings of many stretches: the longest is halved again and again, and halves without points are dropped, so
/// that nights without work take no part of the chart.
Result<std::vector<Point>> read_windows(db::Connection& c, std::int64_t metric, const Range& range,
                                        std::size_t windows) {
  LATHE_TRY(auto out, read_between(c, metric, range.first_ms, range.last_ms, kWindow));
  LATHE_TRY(const auto last, read_last(c, metric, range));
  if (!last) return out;
  std::priority_queue<Stretch> stretches;
  stretches.push({out.front().timestamp_ms, last->timestamp_ms});
  std::size_t read = 1;
  for (std::size_t seeks = 0; read < windows && seeks < 2 * windows; ++seeks) {
    const auto longest = stretches.top();
    stretches.pop();
    const auto middle = std::midpoint(longest.first_ms, longest.end_ms);
    if (middle == longest.first_ms) break;
    LATHE_TRY(const auto window, read_between(c, metric, middle, longest.end_ms - 1, kWindow));
    stretches.push({longest.first_ms, middle});
    if (window.empty()) continue;
    stretches.push({window.front().timestamp_ms, longest.end_ms});
    out.insert(out.end(), window.begin(), window.end());
    ++read;
  }
  out.push_back(*last);
  const auto place = [](const Point& point) {
    const auto value = kept(point.value);
    return std::tuple{point.timestamp_ms, point.step, value.value, value.is_nan};
  };
  std::sort(out.begin(), out.end(), [&](const Point& a, const Point& b) { return place(a) < place(b); });
  out.erase(std::unique(out.begin(), out.end(), [&](const Point& a, const Point& b) { return place(a) == place(b); }),
            out.end());
  return out;
}

void fill(Series& series, const std::vector<Point>& points, std::size_t most) {
  std::vector<double> values;
  values.reserve(points.size());
  for (const auto& point : points) values.push_back(point.value);
  const auto picked = downsample(values, most);
  series.steps.reserve(picked.size());
  series.timestamps.reserve(picked.size());
  series.values.reserve(picked.size());
  for (const auto at : picked) {
    series.steps.push_back(points[at].step);
    series.timestamps.push_back(points[at].timestamp_ms);
    series.values.push_back(std::isnan(points[at].value) ? std::nullopt : std::optional{points[at].value});
  }
}

Result<Series> read_one(db::Connection& c, const RunInfo& run, const std::string& key, std::int64_t metric,
                        const SeriesQuery& query, std::size_t share) {
  Series out{.run_id = run.run_id, .key = key, .total = {}, .steps = {}, .timestamps = {}, .values = {}};
  const auto range = range_of(query);
  const auto whole = std::max(kMostRead / share, query.points);
  LATHE_TRY(bool long_one, has_more_than(c, metric, range, whole));
  std::vector<Point> points;
  if (!long_one) {
    LATHE_TRY(points, read_between(c, metric, range.first_ms, range.last_ms, static_cast<std::int64_t>(whole) + 1));
    long_one = points.size() > whole;
  }
  if (long_one) {
    LATHE_TRY(points, read_windows(c, metric, range, std::max<std::size_t>(kMostWindows / share, 16)));
  }
  std::erase_if(points, [&](const Point& p) { return p.step < range.first_step || p.step > range.last_step; });
  const auto before = [](const Point& a, const Point& b) { return a.step < b.step; };
  if (query.by == Axis::step && !std::is_sorted(points.begin(), points.end(), before))
    std::stable_sort(points.begin(), points.end(), before);
  if (!long_one) out.total = static_cast<std::int64_t>(points.size());
  fill(out, points, query.points);
  return out;
}

}  // namespace

Result<SeriesAnswer> read_series(db::Connection& c, const SeriesQuery& query) {
  const auto share = query.runs.size() * query.keys.size();
  if (query.keys.empty()) return fail(Code::invalid, "name at least one metric: ?key=loss");
  if (share > kMostSeries)
    return fail(Code::invalid, fmt::format("{} metrics of {} runs are too many series: ask for at most {} at a time",
                                           query.keys.size(), query.runs.size(), kMostSeries));
  if (query.points < kFewestPointsPerSeries || query.points > kMostPointsPerSeries)
    return fail(Code::invalid,
                fmt::format("points must be from {} to {}", kFewestPointsPerSeries, kMostPointsPerSeries));
  SeriesAnswer out;
  for (const auto& run_id : query.runs) {
    LATHE_TRY(const auto run, find_run(c, run_id));
    for (const auto& key : query.keys) {
      LATHE_TRY(const auto metric, find_metric(c, run, key));
      if (!metric) continue;
      LATHE_TRY(auto series, read_one(c, run, key, *metric, query, share));
      out.series.push_back(std::move(series));
    }
  }
  return out;
}

}  // namespace lathe::tracking
