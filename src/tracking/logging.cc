// What runs log: points, parameters and tags. This is the hot write path: a few statements by primary key for each.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>
#include <tuple>
#include <unordered_map>

#include "tracking/run_rows.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

constexpr std::string_view kRunName = "mlflow.runName";

/// A metric of the run with its latest point, as the table metric has it.
struct Latest {
  std::int64_t id = 0;
  std::int64_t step = 0;
  std::int64_t timestamp_ms = 0;
  KeptValue value{0, false};
  bool exists = false;   ///< the row is in the table
  bool changed = false;  ///< and must be written
};

Result<Latest> find_latest(db::Connection& c, const RunInfo& run, const std::string& key) {
  static constexpr auto kSql = "SELECT id, step, timestamp_ms, value, is_nan FROM metric WHERE run = $1 AND key = $2";
  LATHE_TRY(auto found, db::first(
                            c, kSql,
                            [](const db::Row& row) {
                              return Latest{row.integer(0), row.integer(1),
                                            row.integer(2), {row.real(3), row.integer(4) != 0},
                                            true,           false};
                            },
                            run.number, key));
  return found ? std::move(*found) : Latest{};
}

Result<void> insert_metric(db::Connection& c, const RunInfo& run, const std::string& key, Latest& latest) {
  static constexpr auto kSql = R"sql(
    INSERT INTO metric (id, run, experiment_id, key, step, timestamp_ms, value, is_nan)
    SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM metric
 RETURNING id)sql";
  LATHE_TRY(const auto id,
            db::first(
                c, kSql, [](const db::Row& row) { return row.integer(0); }, run.number, run.experiment_id, key,
                latest.step, latest.timestamp_ms, latest.value.value, latest.value.is_nan));
  latest.id = *id;
  latest.exists = true;
  return {};
}

Result<void> update_metric(db::Connection& c, const Latest& latest) {
  static constexpr auto kSql = "UPDATE metric SET step = $2, timestamp_ms = $3, value = $4, is_nan = $5 WHERE id = $1";
  LATHE_CHECK(db::run(c, kSql, latest.id, latest.step, latest.timestamp_ms, latest.value.value, latest.value.is_nan));
  return {};
}

Result<void> insert_point(db::Connection& c, std::int64_t metric, const Metric& point, KeptValue value) {
  static constexpr auto kSql = R"sql(
    INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING)sql";
  LATHE_CHECK(db::run(c, kSql, metric, point.timestamp_ms, point.step, value.value, value.is_nan));
  return {};
}

Result<void> log_one(db::Connection& c, const RunInfo& run, const Metric& point, Latest& latest) {
  const auto value = kept(point.value);
  const auto order = [](std::int64_t step, std::int64_t time, const KeptValue& v) {
    return std::tuple{step, time, v.value};
  };
  const bool newer = !latest.exists || order(point.step, point.timestamp_ms, value) >
                                           order(latest.step, latest.timestamp_ms, latest.value);
  if (newer) {
    latest.step = point.step;
    latest.timestamp_ms = point.timestamp_ms;
    latest.value = value;
    if (latest.exists)
      latest.changed = true;
    else
      LATHE_CHECK(insert_metric(c, run, point.key, latest));
  }
  return insert_point(c, latest.id, point, value);
}

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

Result<void> check_metric(const Metric& metric) {
  LATHE_CHECK(check_key("metric", metric.key));
  if (metric.timestamp_ms < 0)
    return fail(Code::invalid, fmt::format("Got invalid timestamp {} for metric '{}' (value={}). Timestamp must be a "
                                           "nonnegative long (64-bit integer) ",
                                           metric.timestamp_ms, metric.key, metric.value));
  return {};
}

Result<void> log_one_param(db::Connection& c, const RunInfo& run, const Param& param) {
  LATHE_CHECK(check_key("parameter", param.key));
  LATHE_CHECK(check_text("parameter", param.value));
  const std::string value(first_characters(param.value, kParamValueLimit));  // longer ones are cut, as MLflow does

  static constexpr auto kInsert =
      "INSERT INTO run_param (run, key, value) VALUES ($1, $2, $3) ON CONFLICT (run, key) DO NOTHING";
  LATHE_TRY(const auto added, db::run(c, kInsert, run.number, param.key, value));
  if (added == 1) return {};
  LATHE_TRY(const auto before, db::first(
                                   c, "SELECT value FROM run_param WHERE run = $1 AND key = $2",
                                   [](const db::Row& row) { return row.text(0); }, run.number, param.key));
  if (before == value) return {};
  return fail(Code::invalid, fmt::format("Changing param values is not allowed. Param with key='{}' was already logged "
                                         "with value='{}' for run ID='{}'. "
                                         "Attempted logging new value '{}'.",
                                         param.key, before.value_or(""), run.run_id, value));
}

}  // namespace

KeptValue kept(double value) {
  if (std::isnan(value)) return {0, true};
  constexpr double kMost = std::numeric_limits<double>::max();
  return {std::isinf(value) ? std::copysign(kMost, value) : value, false};
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
  for (const auto& metric : metrics) LATHE_CHECK(check_metric(metric));
  std::unordered_map<std::string, Latest> series;
  for (const auto& metric : metrics) {
    auto at = series.find(metric.key);
    if (at == series.end()) {
      LATHE_TRY(auto latest, find_latest(c, run, metric.key));
      at = series.emplace(metric.key, latest).first;
    }
    LATHE_CHECK(log_one(c, run, metric, at->second));
    if (!metric.model_id.empty()) LATHE_CHECK(log_model_metric(c, run, metric));
  }
  for (const auto& [key, latest] : series)
    if (latest.changed) LATHE_CHECK(update_metric(c, latest));
  return {};
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
  for (const auto& param : params) LATHE_CHECK(log_one_param(c, run, param));
  return {};
}

Result<void> set_tags(db::Connection& c, const RunInfo& run, const std::vector<Tag>& tags) {
  static constexpr auto kSql = R"sql(
    INSERT INTO run_tag (run, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (run, key) DO UPDATE SET value = excluded.value)sql";
  for (const auto& tag : tags) {
    LATHE_CHECK(check_key("tag", tag.key));
    LATHE_CHECK(check_text("tag", tag.value));
    const auto value = first_characters(tag.value, kTagValueLimit);
    LATHE_CHECK(db::run(c, kSql, run.number, tag.key, value));
    if (tag.key == kRunName) LATHE_CHECK(db::run(c, "UPDATE run SET name = $2 WHERE number = $1", run.number, value));
  }
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

Result<std::vector<Metric>> metric_history(db::Connection& c, const RunInfo& run, const std::string& key,
                                           std::size_t limit, std::size_t offset) {
  static constexpr auto kSql = R"sql(
    SELECT m.key, p.value, p.timestamp_ms, p.step, p.is_nan
      FROM metric m JOIN metric_point p ON p.metric = m.id
     WHERE m.run = $1 AND m.key = $2
     ORDER BY p.timestamp_ms, p.step, p.value
     LIMIT $3 OFFSET $4)sql";
  const auto most = limit == 0 ? std::numeric_limits<std::int64_t>::max() : static_cast<std::int64_t>(limit);
  return db::all(c, kSql, read_metric, run.number, key, most, static_cast<std::int64_t>(offset));
}

}  // namespace lathe::tracking
