#include "tracking/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <fmt/format.h>

#include "base/digest.h"
#include "json/json.h"
#include "tracking/filter.h"
#include "tracking/run_rows.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostSampledPerRun = 25'000;
constexpr std::size_t kMostSampledPoints = 500'000;  ///< of all runs together

/// Where a page begins: after a point, or, in a token that is not ours, after so many points.
struct Position {
  std::size_t offset = 0;
  std::optional<Point> after;
};

std::string make_token(std::size_t offset, const Point& last) {
  const json::Array after{last.timestamp_ms, last.step, last.value};
  return base64_encode(json::print(json::Object{{"offset", static_cast<std::int64_t>(offset)}, {"after", after}}));
}

Result<Position> parse_token(std::string_view token) {
  Position out;
  LATHE_TRY(out.offset, parse_page_token(token));
  if (token.empty()) return out;
  const auto object = json::parse_object(*base64_decode(token));  // it was read before
  const auto list = json::get_array(*object, "after");
  if (list && *list == nullptr) return out;
  if (!list || (*list)->size() != 3) return fail(Code::invalid, "Invalid page token");
  const json::Object fields{{"time", (**list)[0]}, {"step", (**list)[1]}, {"value", (**list)[2]}};
  const auto time = json::get_int(fields, "time");
  const auto step = json::get_int(fields, "step");
  const auto value = json::get_double(fields, "value");
  if (!time || !*time || !step || !*step || !value || !*value) return fail(Code::invalid, "Invalid page token");
  out.after = Point{**time, **step, **value};
  return out;
}

Result<std::vector<Point>> read_points(db::Connection& c, std::int64_t metric, std::size_t limit,
                                       const Position& from) {
  static constexpr auto kFromStart = R"sql(
    SELECT timestamp_ms, step, value, is_nan FROM metric_point WHERE metric = $1
     ORDER BY timestamp_ms, step, value, is_nan LIMIT $2 OFFSET $3)sql";
  static constexpr auto kAfter = R"sql(
    SELECT timestamp_ms, step, value, is_nan FROM metric_point
     WHERE metric = $1 AND (timestamp_ms, step, value, is_nan) > ($3, $4, $5, $6)
     ORDER BY timestamp_ms, step, value, is_nan LIMIT $2)sql";
  const auto most = static_cast<std::int64_t>(limit);
  if (!from.after) return db::all(c, kFromStart, read_point, metric, most, static_cast<std::int64_t>(from.offset));
  const auto value = kept(from.after->value);
  return db::all(c, kAfter, read_point, metric, most, from.after->timestamp_ms, from.after->step, value.value,
                 value.is_nan);
}

struct MetricOfRun {
  std::string run_id;
  std::int64_t metric;
};

/// Those of the runs that have the metric, by run id.
Result<std::vector<MetricOfRun>> metrics_of(db::Connection& c, const std::vector<std::string>& run_ids,
                                            std::string_view key) {
  static constexpr auto kSql = R"sql(
    SELECT r.id, m.id FROM run r JOIN metric m ON m.run = r.number
     WHERE r.id = ANY($1) AND m.key = $2 ORDER BY r.id)sql";
  const std::vector<std::string_view> ids(run_ids.begin(), run_ids.end());
  return db::all(
      c, kSql,
      [](const db::Row& row) {
        return MetricOfRun{row.text(0), row.integer(1)};
      },
      ids, key);
}

Result<std::vector<std::int64_t>> distinct_steps(db::Connection& c, std::int64_t metric) {
  std::vector<std::int64_t> out;
  bool sorted = true;
  LATHE_CHECK(db::each(
      c, "SELECT step FROM metric_point WHERE metric = $1 ORDER BY timestamp_ms, step",
      [&](const db::Row& row) {
        const auto step = row.integer(0);
        if (!out.empty() && step == out.back()) return;
        sorted = sorted && (out.empty() || step > out.back());
        out.push_back(step);
      },
      metric));
  if (!sorted) {
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  }
  return out;
}

/// `most` of the steps of `all` that lie in the range, evenly spread, and the last of them.
std::vector<std::int64_t> spread(const std::vector<std::int64_t>& all, StepRange range, std::size_t most) {
  const auto begin = std::lower_bound(all.begin(), all.end(), range.first);
  const auto end = std::upper_bound(all.begin(), all.end(), range.last);
  const auto count = end <= begin ? std::size_t{0} : static_cast<std::size_t>(end - begin);
  if (count == 0) return {};
  if (count <= most) return {begin, end};
  std::vector<std::int64_t> out;
  out.reserve(most + 1);
  for (std::size_t i = 0; i < most; ++i) out.push_back(begin[static_cast<std::ptrdiff_t>(i * count / most)]);
  out.push_back(*(end - 1));
  return out;
}

Result<std::vector<Point>> points_at(db::Connection& c, std::int64_t metric, const std::vector<std::int64_t>& steps) {
  std::vector<Point> out;
  LATHE_CHECK(db::each(
      c, "SELECT timestamp_ms, step, value, is_nan FROM metric_point WHERE metric = $1",
      [&](const db::Row& row) {
        if (std::binary_search(steps.begin(), steps.end(), row.integer(1))) out.push_back(read_point(row));
      },
      metric));
  std::sort(out.begin(), out.end(), [](const Point& a, const Point& b) {
    const auto x = kept(a.value), y = kept(b.value);
    return std::tie(a.step, a.timestamp_ms, x.value, x.is_nan) < std::tie(b.step, b.timestamp_ms, y.value, y.is_nan);
  });
  if (out.size() > kMostSampledPerRun) out.resize(kMostSampledPerRun);
  return out;
}

}  // namespace

Point read_point(const db::Row& row) {
  const auto value = row.real(2);
  const bool is_nan = value == 0 && row.integer(3) != 0;
  return {row.integer(0), row.integer(1), is_nan ? std::numeric_limits<double>::quiet_NaN() : value};
}

Result<std::optional<std::int64_t>> find_metric(db::Connection& c, const RunInfo& run, std::string_view key) {
  return db::first(
      c, "SELECT id FROM metric WHERE run = $1 AND key = $2", [](const db::Row& row) { return row.integer(0); },
      run.number, key);
}

Result<HistoryPage> metric_history(db::Connection& c, const RunInfo& run, std::string_view key, std::size_t limit,
                                   std::string_view page_token) {
  HistoryPage page;
  LATHE_TRY(const auto from, parse_token(page_token));
  LATHE_TRY(const auto metric, find_metric(c, run, key));
  if (!metric) return page;
  LATHE_TRY(page.points, read_points(c, *metric, limit + 1, from));
  if (page.points.size() > limit) {
    page.points.pop_back();
    page.next = make_token(from.offset + limit, page.points.back());
  }
  return page;
}

Result<std::vector<RunPoints>> bulk_history(db::Connection& c, const std::vector<std::string>& run_ids,
                                            std::string_view key, std::size_t limit) {
  std::vector<RunPoints> out;
  LATHE_TRY(const auto metrics, metrics_of(c, run_ids, key));
  for (const auto& [run_id, metric] : metrics) {
    if (limit == 0) break;
    LATHE_TRY(auto points, read_points(c, metric, limit, {}));
    limit -= points.size();
    out.push_back({run_id, std::move(points)});
  }
  return out;
}

Result<std::vector<RunPoints>> sampled_history(db::Connection& c, const std::vector<std::string>& run_ids,
                                               std::string_view key, std::optional<StepRange> range, std::size_t most) {
  LATHE_TRY(const auto metrics, metrics_of(c, run_ids, key));
  std::vector<std::int64_t> all, ends;
  for (const auto& of_run : metrics) {
    LATHE_TRY(const auto steps, distinct_steps(c, of_run.metric));
    if (steps.empty()) continue;
    ends.insert(ends.end(), {steps.front(), steps.back()});
    std::vector<std::int64_t> both;
    both.reserve(all.size() + steps.size());
    std::set_union(all.begin(), all.end(), steps.begin(), steps.end(), std::back_inserter(both));
    all = std::move(both);
  }
  const auto wanted = range.value_or(StepRange{0, all.empty() ? 0 : all.back()});
  auto steps = spread(all, wanted, most);
  for (const auto step : ends)
    if (step >= wanted.first && step <= wanted.last) steps.push_back(step);
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());

  std::vector<RunPoints> out;
  std::size_t total = 0;
  for (const auto& run_id : run_ids) {
    const auto found =
        std::find_if(metrics.begin(), metrics.end(), [&](const auto& of) { return of.run_id == run_id; });
    if (found == metrics.end()) continue;
    LATHE_TRY(auto points, points_at(c, found->metric, steps));
    total += points.size();
    if (total > kMostSampledPoints)
      return fail(Code::invalid, fmt::format("these steps hold more than {} points: ask for fewer runs or steps",
                                             kMostSampledPoints));
    out.push_back({run_id, std::move(points)});
  }
  return out;
}

}  // namespace lathe::tracking
