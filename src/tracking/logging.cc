// What runs log: points, parameters and tags. This is the hot write path: a few statements by primary key for each.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "tracking/run_rows.h"
#include "tracking/run_walk.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

constexpr std::string_view kRunName = "mlflow.runName";

/// What is logged to one run.
struct Logged {
  const RunInfo* run;
  const std::vector<Metric>* metrics;
};

/// `list`: the field that the metric is in, or nothing.
Result<void> check_time(const Metric& metric, std::string_view list, std::size_t index) {
  if (metric.timestamp_ms >= 0) return {};
  return fail(Code::invalid,
              fmt::format("Invalid value {} for parameter '{}timestamp' supplied: metric '{}' (value={}). Timestamp "
                          "must be a nonnegative long (64-bit integer) ",
                          metric.timestamp_ms, list.empty() ? "" : fmt::format("{}[{}].", list, index), metric.key,
                          metric.value));
}

/// A metric of a run with its latest point, as the table metric has it.
struct Series {
  const RunInfo* run;
  std::string_view key;
  std::int64_t id = 0;  ///< 0: not in the table yet
  std::int64_t step = 0;
  std::int64_t timestamp_ms = 0;
  KeptValue value{0, false};
  bool changed = false;  ///< and must be written

  void take(const Metric& point, KeptValue kept) {
    const bool newer = (id == 0 && !changed) || std::tuple{point.step, point.timestamp_ms, kept.value} >
                                                    std::tuple{step, timestamp_ms, value.value};
    if (!newer) return;
    step = point.step;
    timestamp_ms = point.timestamp_ms;
    value = kept;
    changed = true;
  }
};

/// The metrics of one run, by key, in the list of all series.
struct RunSeries {
  const RunInfo* run;
  std::unordered_map<std::string_view, std::size_t> places;
};

/// The series that points belong to, of any number of runs.
struct AllSeries {
  std::vector<Series> list;
  std::unordered_map<std::int64_t, RunSeries> runs;  ///< by number
  std::vector<std::size_t> of_point;                 ///< in the order in which the points were added

  /// Adds all points, or, where one of them is wrong, none: a series without points does no harm.
  Result<void> add(const Logged& run) {
    const auto before = of_point.size();
    auto added = add_each(run);
    if (!added) of_point.resize(before);
    return added;
  }

 private:
  Result<void> add_each(const Logged& run) {
    auto& places = runs.try_emplace(run.run->number, RunSeries{run.run, {}}).first->second.places;
    const std::string_view name = run.metrics->size() > 1 ? "metrics" : "";
    std::size_t i = 0;
    for (const auto& point : *run.metrics) {
      const auto [at, is_new] = places.try_emplace(point.key, list.size());
      if (is_new) {
        list.push_back({.run = run.run, .key = point.key});
        if (auto good = check_key("metric", point.key, name, i); !good) {
          places.erase(at);
          return good;
        }
      }
      LATHE_CHECK(check_time(point, name, i++));
      of_point.push_back(at->second);
    }
    return {};
  }
};

/// Reads the series of `numbers`, and of these the ones in `keys`.
Result<void> read_latest(db::Connection& c, const std::vector<std::int64_t>& numbers,
                         const std::vector<std::string_view>& keys, AllSeries& all) {
  static constexpr auto kSql =
      "SELECT run, key, id, step, timestamp_ms, value, is_nan FROM metric WHERE run = ANY($1) AND key = ANY($2)";
  return db::each(
      c, kSql,
      [&](const db::Row& row) {
        const auto& places = all.runs.at(row.integer(0)).places;
        const auto place = places.find(row.text_view(1));
        if (place == places.end()) return;  // another run's key
        auto& series = all.list[place->second];
        series.id = row.integer(2);
        series.step = row.integer(3);
        series.timestamp_ms = row.integer(4);
        series.value = {row.real(5), row.integer(6) != 0};
      },
      numbers, keys);
}

/// Runs that log at the same time mostly log the same metrics: then one statement looks for every key in every run.
Result<void> read_latest(db::Connection& c, AllSeries& all) {
  std::vector<std::int64_t> numbers;
  std::unordered_set<std::string_view> keys;
  for (const auto& [number, run] : all.runs) {
    numbers.push_back(number);
    for (const auto& [key, place] : run.places) keys.insert(key);
  }
  if (numbers.size() * keys.size() <= 2 * all.list.size())
    return read_latest(c, numbers, {keys.begin(), keys.end()}, all);
  for (const auto& [number, run] : all.runs) {
    std::vector<std::string_view> own;
    for (const auto& [key, place] : run.places) own.push_back(key);
    LATHE_CHECK(read_latest(c, {number}, own, all));
  }
  return {};
}

/// Writes the latest points that changed. New series get their ids here.
Result<void> write_latest(db::Connection& c, std::vector<Series>& list) {
  static constexpr auto kInto = "INSERT INTO metric (run, key, experiment_id, id, step, timestamp_ms, value, is_nan)";
  static constexpr auto kOtherwise = R"sql(
    ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, timestamp_ms = excluded.timestamp_ms,
                                         value = excluded.value, is_nan = excluded.is_nan)sql";
  std::int64_t last_id = 0;
  if (std::any_of(list.begin(), list.end(), [](const Series& series) { return series.id == 0; })) {
    LATHE_TRY(const auto last, db::first(c, "SELECT COALESCE(MAX(id), 0) FROM metric",
                                         [](const db::Row& row) { return row.integer(0); }));
    last_id = *last;
  }
  std::vector<std::string_view> keys;
  std::vector<std::int64_t> runs, experiments, ids, steps, times, nans;
  std::vector<double> values;
  for (auto& series : list) {
    if (!series.changed) continue;
    if (series.id == 0) series.id = ++last_id;
    runs.push_back(series.run->number);
    keys.push_back(series.key);
    experiments.push_back(series.run->experiment_id);
    ids.push_back(series.id);
    steps.push_back(series.step);
    times.push_back(series.timestamp_ms);
    values.push_back(series.value.value);
    nans.push_back(series.value.is_nan ? 1 : 0);
  }
  if (keys.empty()) return {};
  const std::array<db::Column, 8> columns{runs, keys, experiments, ids, steps, times, values, nans};
  return c.put(kInto, keys.size(), columns, kOtherwise);
}

/// Points to write, column by column.
struct Points {
  std::vector<std::int64_t> ids, times, steps, nans;
  std::vector<double> values;

  void add(const Metric& point, KeptValue value, std::int64_t id) {
    ids.push_back(id);
    times.push_back(point.timestamp_ms);
    steps.push_back(point.step);
    values.push_back(value.value);
    nans.push_back(value.is_nan ? 1 : 0);
  }
  Result<void> write(db::Connection& c) const {
    const std::array<db::Column, 5> columns{ids, times, steps, values, nans};
    return c.put("INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan)", ids.size(), columns,
                 "ON CONFLICT DO NOTHING");
  }
};

/// Writes points that are in `series`, in the same order.
Result<void> write(db::Connection& c, std::span<const Logged> all, AllSeries& series) {
  if (all.empty()) return {};
  LATHE_CHECK(read_latest(c, series));
  std::size_t at = 0;
  for (const auto& run : all)
    for (const auto& point : *run.metrics) series.list[series.of_point[at++]].take(point, kept(point.value));
  LATHE_CHECK(write_latest(c, series.list));
  std::vector<std::int64_t> ids, times, steps, nans;
  std::vector<double> values;
  for (auto* list : {&ids, &times, &steps, &nans}) list->reserve(at);
  values.reserve(at);
  at = 0;
  for (const auto& run : all)
    for (const auto& point : *run.metrics) {
      const auto value = kept(point.value);
      ids.push_back(series.list[series.of_point[at++]].id);
      times.push_back(point.timestamp_ms);
      steps.push_back(point.step);
      values.push_back(value.value);
      nans.push_back(value.is_nan ? 1 : 0);
    }
  const std::array<db::Column, 5> columns{ids, times, steps, values, nans};
  return c.put("INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan)", ids.size(), columns,
               "ON CONFLICT DO NOTHING");
}

/// Those of the runs that are there, by id.
Result<std::unordered_map<std::string, RunInfo>> find_runs(db::Connection& c, std::span<PointsToLog* const> all) {
  static constexpr auto kSql = "SELECT " LATHE_RUN_COLUMNS " FROM run r WHERE r.id = ANY($1) AND r.stage <> 'removing'";
  std::unordered_set<std::string_view> ids;
  for (const auto* points : all) ids.insert(points->run_id);
  std::unordered_map<std::string, RunInfo> out;
  LATHE_CHECK(db::each(
      c, kSql,
      [&](const db::Row& row) {
        auto run = read_run_info(row);
        out.emplace(run.run_id, std::move(run));
      },
      std::vector<std::string_view>(ids.begin(), ids.end())));
  return out;
}

/// What indexes hold of texts.
std::vector<std::string_view> beginnings_of(const std::vector<std::string_view>& values) {
  std::vector<std::string_view> out;
  for (const auto value : values) out.push_back(first_characters(value, kIndexedCharacters));
  return out;
}

/// Parameters never change: logging the same value again is fine, another is refused.
Result<void> check_params_unchanged(db::Connection& c, const RunInfo& run, const std::vector<std::string_view>& keys,
                                    const std::vector<std::string_view>& values) {
  std::unordered_map<std::string, std::string> kept;
  LATHE_CHECK(db::each(
      c, "SELECT key, value FROM run_param WHERE run = $1 AND key = ANY($2)",
      [&](const db::Row& row) { kept.emplace(row.text(0), row.text(1)); }, run.number, keys));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto& before = kept[std::string(keys[i])];
    if (before != values[i])
      return fail(Code::invalid,
                  fmt::format("Changing param values is not allowed. Param with key='{}' was already "
                              "logged with value='{}' for run ID='{}'. Attempted logging new value '{}'.",
                              keys[i], before, run.run_id, values[i]));
  }
  return {};
}

}  // namespace

Result<void> log_model_metric(db::Connection& c, const RunInfo& run, const Metric& point) {
  static constexpr auto kSql = R"sql(
    INSERT INTO logged_model_metric (model, key, dataset_name, dataset_digest, run_id, step, timestamp_ms, value,
                                     is_nan)
    SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM logged_model WHERE id = $1
        ON CONFLICT (model, key, dataset_name, dataset_digest, run_id)
        DO UPDATE SET step = excluded.step, timestamp_ms = excluded.timestamp_ms, value = excluded.value,
                      is_nan = excluded.is_nan
     WHERE (excluded.step, excluded.timestamp_ms) >= (logged_model_metric.step, logged_model_metric.timestamp_ms))sql";
  const auto value = kept(point.value);
  LATHE_CHECK(db::run(c, kSql, point.model_id, point.key, point.dataset_name, point.dataset_digest, run.run_id,
                      point.step, point.timestamp_ms, value.value, value.is_nan));
  return {};
}

KeptValue kept(double value) {
  if (std::isnan(value)) return {0, true};
  constexpr double kMost = std::numeric_limits<double>::max();
  return {std::isinf(value) ? std::copysign(kMost, value) : value + 0.0, false};  // -0 becomes 0
}

Metric read_metric(const db::Row& row) {
  Metric out;
  out.key = row.text(0);
  out.value = row.integer(4) != 0 ? std::numeric_limits<double>::quiet_NaN() : row.real(1);
  out.timestamp_ms = row.integer(2);
  out.step = row.integer(3);
  return out;
}

Result<void> log_metrics(db::Connection& c, const RunInfo& run, const std::vector<Metric>& metrics) {
  if (metrics.empty()) return {};
  const Logged points{&run, &metrics};
  AllSeries series;
  LATHE_CHECK(series.add(points));
  LATHE_CHECK(write(c, std::span{&points, 1}, series));
  for (const auto& metric : metrics)
    if (!metric.model_id.empty()) LATHE_CHECK(log_model_metric(c, run, metric));
  return {};
}

Result<void> log_together(db::Connection& c, std::span<PointsToLog* const> all) {
  LATHE_TRY(const auto runs, find_runs(c, all));
  std::vector<Logged> good;
  AllSeries series;
  for (auto* points : all) {
    points->outcome = check_run_id(points->run_id);
    if (!points->outcome) continue;
    const auto run = runs.find(points->run_id);
    points->outcome = run == runs.end() ? no_run(points->run_id) : check_writable(points->who, run->second);
    if (!points->outcome) continue;
    const Logged here{&run->second, &points->metrics};
    points->outcome = series.add(here);
    if (points->outcome) good.push_back(here);
  }
  return write(c, good, series);
}

Result<void> log_params(db::Connection& c, const RunInfo& run, const std::vector<Param>& params) {
  std::set<std::string_view> seen;
  for (const auto& param : params)
    if (!seen.insert(param.key).second)
      return fail(
          Code::invalid,
          fmt::format(
              "Duplicate parameter keys have been submitted: ['{}']. Please ensure the request contains only one "
              "param value per param key.",
              param.key));
  if (params.empty()) return {};
  std::vector<std::string_view> keys, values;
  for (const auto& param : params) {
    LATHE_CHECK(check_key("parameter", param.key));
    LATHE_CHECK(check_text("parameter", param.value));
    keys.push_back(param.key);
    values.push_back(first_characters(param.value, kParamValueLimit));  // longer ones are cut, as MLflow does
  }
  const auto beginnings = beginnings_of(values);
  const std::array<db::Column, 6> columns{run.number, run.experiment_id, run.start_ms, keys, values, beginnings};
  LATHE_TRY(const auto added, c.insert("INSERT INTO run_param (run, experiment_id, start_ms, key, value, beginning)",
                                       keys.size(), columns, "ON CONFLICT (run, key) DO NOTHING"));
  if (added == static_cast<std::int64_t>(keys.size())) return {};
  return check_params_unchanged(c, run, keys, values);
}

Result<std::vector<Tag>> write_tags(db::Connection& c, const RunInfo& run, const std::vector<Tag>& tags) {
  std::map<std::string_view, std::string_view> last;  // of tags that are named twice, the last one counts
  for (const auto& tag : tags) {
    LATHE_CHECK(check_key("tag", tag.key));
    LATHE_CHECK(check_text("tag", tag.value));
    last[tag.key] = first_characters(tag.value, kTagValueLimit);
  }
  std::vector<Tag> kept;
  std::vector<std::string_view> keys, values;
  for (const auto& [key, value] : last) {
    keys.push_back(key);
    values.push_back(value);
    kept.push_back({std::string(key), std::string(value)});
  }
  if (kept.empty()) return kept;
  const auto beginnings = beginnings_of(values);
  const std::array<db::Column, 6> columns{run.number, run.experiment_id, run.start_ms, keys, values, beginnings};
  LATHE_CHECK(c.put("INSERT INTO run_tag (run, experiment_id, start_ms, key, value, beginning)", keys.size(), columns,
                    "ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, beginning = excluded.beginning"));
  return kept;
}

Result<void> set_tags(db::Connection& c, const RunInfo& run, const std::vector<Tag>& tags) {
  LATHE_TRY(const auto kept, write_tags(c, run, tags));
  for (const auto& tag : kept)
    if (tag.key == kRunName)
      LATHE_CHECK(db::run(c, "UPDATE run SET name = $2 WHERE number = $1 AND name <> $2", run.number, tag.value));
  return {};
}

Result<void> delete_tag(db::Connection& c, const RunInfo& run, const std::string& key) {
  LATHE_TRY(const auto gone, db::run(c, "DELETE FROM run_tag WHERE run = $1 AND key = $2", run.number, key));
  if (gone == 0) return fail(Code::not_found, fmt::format("No tag with name: {} in run with id {}", key, run.run_id));
  return {};
}

Result<std::optional<std::string>> find_tag(db::Connection& c, const RunInfo& run, std::string_view key) {
  return db::first(
      c, "SELECT value FROM run_tag WHERE run = $1 AND key = $2", [](const db::Row& row) { return row.text(0); },
      run.number, key);
}

Result<void> log_param(db::Connection& c, const std::string& run_id, const std::string& key, const std::string& value) {
  LATHE_TRY(const auto run, find_run(c, run_id));
  return log_params(c, run, {{key, value}});
}

Result<void> set_tag(db::Connection& c, const std::string& run_id, const std::string& key, const std::string& value) {
  LATHE_TRY(const auto run, find_run(c, run_id));
  return set_tags(c, run, {{key, value}});
}

}  // namespace lathe::tracking
