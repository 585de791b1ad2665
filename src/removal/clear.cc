// The rows of what is removed, a piece at a time: each piece is a transaction of its own, so that no writer waits long.
#include <fmt/format.h>

#include "removal/removal.h"

namespace lathe::removal {
namespace {

constexpr std::int64_t kSlice = 256;  // rows between two looks at the clock

/// Deletes the first points of a metric. True: it has none left.
Result<bool> clear_points(db::Connection& c, std::int64_t metric) {
  static constexpr auto kBound = R"sql(
    SELECT timestamp_ms, step, value, is_nan FROM metric_point WHERE metric = $1
     ORDER BY timestamp_ms, step, value, is_nan LIMIT 1 OFFSET $2)sql";
  static constexpr auto kBelow = R"sql(
    DELETE FROM metric_point
     WHERE metric = $1 AND (timestamp_ms, step, value, is_nan) < ($2, $3, $4, $5))sql";
  struct Point {
    std::int64_t timestamp_ms, step;
    double value;
    std::int64_t is_nan;
  };
  LATHE_TRY(const auto bound, db::first(
                                  c, kBound,
                                  [](const db::Row& row) {
                                    return Point{row.integer(0), row.integer(1), row.real(2), row.integer(3)};
                                  },
                                  metric, kSlice));
  if (bound) {
    LATHE_CHECK(db::run(c, kBelow, metric, bound->timestamp_ms, bound->step, bound->value, bound->is_nan));
    return false;
  }
  LATHE_CHECK(db::run(c, "DELETE FROM metric_point WHERE metric = $1", metric));
  return true;
}

Result<bool> clear_metrics(db::Connection& c, std::int64_t run, const Enough& enough) {
  for (;;) {
    LATHE_TRY(const auto metrics, db::all(
                                      c, "SELECT id FROM metric WHERE run = $1 LIMIT $2",
                                      [](const db::Row& row) { return row.integer(0); }, run, kSlice));
    if (metrics.empty()) return true;
    for (const auto metric : metrics) {
      for (bool empty = false; !empty;) {
        LATHE_TRY(empty, clear_points(c, metric));
        if (!empty && enough()) return false;
      }
      LATHE_CHECK(db::run(c, "DELETE FROM metric WHERE id = $1", metric));
      if (enough()) return false;
    }
  }
}

/// Runs each statement, which changes at most $2 rows of the owner $1, until it finds nothing.
template <class Id, std::size_t N>
Result<bool> clear_slices(db::Connection& c, const std::string_view (&statements)[N], const Id& owner,
                          const Enough& enough) {
  for (const auto sql : statements)
    for (std::int64_t changed = 1; changed > 0;) {
      LATHE_TRY(changed, db::run(c, sql, owner, kSlice));
      if (changed > 0 && enough()) return false;
    }
  return true;
}

/// A run's links to data sets; those that no other run uses go along.
Result<bool> clear_datasets(db::Connection& c, std::int64_t run, const Enough& enough) {
  static constexpr auto kOrphans = R"sql(
    DELETE FROM dataset WHERE id = ANY($1) AND NOT EXISTS (SELECT 1 FROM run_dataset d WHERE d.dataset = dataset.id))sql";
  for (;;) {
    LATHE_TRY(const auto datasets, db::all(
                                       c, "SELECT dataset FROM run_dataset WHERE run = $1 LIMIT $2",
                                       [](const db::Row& row) { return row.integer(0); }, run, kSlice));
    if (datasets.empty()) return true;
    LATHE_CHECK(db::run(c, "DELETE FROM run_dataset_tag WHERE run = $1 AND dataset = ANY($2)", run, datasets));
    LATHE_CHECK(db::run(c, "DELETE FROM run_dataset WHERE run = $1 AND dataset = ANY($2)", run, datasets));
    LATHE_CHECK(db::run(c, kOrphans, datasets));
    if (enough()) return false;
  }
}

}  // namespace

Result<bool> clear_run(db::Connection& c, const std::string& run_id, const Enough& enough) {
  static constexpr std::string_view kRows[] = {
      "DELETE FROM run_param WHERE run = $1 AND key IN (SELECT key FROM run_param WHERE run = $1 ORDER BY key LIMIT "
      "$2)",
      "DELETE FROM run_tag WHERE run = $1 AND key IN (SELECT key FROM run_tag WHERE run = $1 ORDER BY key LIMIT $2)",
      "DELETE FROM run_model WHERE run = $1 AND model IN (SELECT model FROM run_model WHERE run = $1 ORDER BY model "
      "LIMIT $2)",
  };
  // Its nested runs stay, as nobody's: a page that nests runs would not show those of a run that is not there. Runs are
  // nested within one experiment, but for scripts that take pains.
  static constexpr std::string_view kNested[] = {R"sql(
    DELETE FROM run_tag WHERE (run, key) IN (
      SELECT t.run, t.key FROM run_tag t
       WHERE t.experiment_id = (SELECT experiment_id FROM run WHERE id = $1) AND t.key = 'mlflow.parentRunId'
         AND t.beginning = substr($1, 1, 200) AND t.value = $1
       LIMIT $2))sql"};
  LATHE_TRY(const auto number,
            db::first(
                c, "SELECT number FROM run WHERE id = $1", [](const db::Row& row) { return row.integer(0); }, run_id));
  if (!number) return true;
  LATHE_TRY(bool empty, clear_metrics(c, *number, enough));
  if (!empty) return false;
  LATHE_TRY(empty, clear_slices(c, kRows, *number, enough));
  if (!empty) return false;
  LATHE_TRY(empty, clear_datasets(c, *number, enough));
  if (!empty) return false;
  LATHE_TRY(empty, clear_slices(c, kNested, run_id, enough));
  if (!empty) return false;
  LATHE_CHECK(db::run(c, "DELETE FROM logged_model_metric WHERE run_id = $1", run_id));
  LATHE_CHECK(db::run(c, "DELETE FROM token WHERE run = $1", run_id));
  LATHE_CHECK(db::run(c, "DELETE FROM job WHERE name = $1", run_id));
  LATHE_CHECK(db::run(c, "DELETE FROM remote_job WHERE job = $1", run_id));
  LATHE_CHECK(db::run(c, "DELETE FROM imported WHERE kind = 'run' AND target = $1", run_id));
  LATHE_CHECK(db::run(c, "DELETE FROM run WHERE number = $1", *number));
  return true;
}

Result<bool> clear_logged_model(db::Connection& c, const std::string& model_id, const Enough& enough) {
  static constexpr std::string_view kRows[] = {
      R"sql(DELETE FROM logged_model_param WHERE model = $1
             AND key IN (SELECT key FROM logged_model_param WHERE model = $1 ORDER BY key LIMIT $2))sql",
      R"sql(DELETE FROM logged_model_tag WHERE model = $1
             AND key IN (SELECT key FROM logged_model_tag WHERE model = $1 ORDER BY key LIMIT $2))sql",
      R"sql(DELETE FROM logged_model_metric WHERE model = $1
             AND key IN (SELECT key FROM logged_model_metric WHERE model = $1 ORDER BY key LIMIT $2))sql",
      R"sql(DELETE FROM run_model WHERE model = $1
             AND run IN (SELECT run FROM run_model WHERE model = $1 ORDER BY run LIMIT $2))sql",
  };
  LATHE_TRY(const bool empty, clear_slices(c, kRows, model_id, enough));
  if (!empty) return false;
  LATHE_CHECK(db::run(c, "DELETE FROM imported WHERE kind = 'logged_model' AND target = $1", model_id));
  LATHE_CHECK(db::run(c, "DELETE FROM logged_model WHERE id = $1", model_id));
  return true;
}

Result<bool> hide_contents(db::Connection& c, std::int64_t id, const Enough& enough) {
  static constexpr std::string_view kRows[] = {
      R"sql(UPDATE run SET stage = 'removing'
             WHERE number IN (SELECT number FROM run WHERE experiment_id = $1 AND stage = 'active' LIMIT $2))sql",
      R"sql(UPDATE run SET stage = 'removing'
             WHERE number IN (SELECT number FROM run WHERE experiment_id = $1 AND stage = 'deleted' LIMIT $2))sql",
      R"sql(UPDATE logged_model SET stage = 'removing'
             WHERE id IN (SELECT id FROM logged_model WHERE experiment_id = $1 AND stage <> 'removing' LIMIT $2))sql",
  };
  return clear_slices(c, kRows, id, enough);
}

Result<bool> clear_experiment(db::Connection& c, std::int64_t id, const Enough& enough) {
  static constexpr std::string_view kRows[] = {
      R"sql(DELETE FROM trace_span WHERE (trace, id) IN (
              SELECT s.trace, s.id FROM trace_span s JOIN trace t ON t.number = s.trace WHERE t.experiment_id = $1 LIMIT $2))sql",
      "DELETE FROM trace WHERE number IN (SELECT number FROM trace WHERE experiment_id = $1 LIMIT $2)",
      "DELETE FROM dataset WHERE id IN (SELECT id FROM dataset WHERE experiment_id = $1 LIMIT $2)",
      R"sql(DELETE FROM experiment_tag WHERE experiment_id = $1
             AND key IN (SELECT key FROM experiment_tag WHERE experiment_id = $1 ORDER BY key LIMIT $2))sql",
  };
  LATHE_TRY(const bool empty, clear_slices(c, kRows, id, enough));
  if (!empty) return false;
  LATHE_CHECK(db::run(c, "DELETE FROM imported WHERE kind = 'experiment' AND target = $1", fmt::to_string(id)));
  LATHE_CHECK(db::run(c, "DELETE FROM experiment WHERE id = $1", id));
  return true;
}

Result<void> forget(db::Connection& c, const Removal& removal) {
  LATHE_CHECK(db::run(c, "DELETE FROM removal WHERE kind = $1 AND id = $2", removal.kind, removal.id));
  return {};
}

}  // namespace lathe::removal
