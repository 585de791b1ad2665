#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "db/db.h"
#include "http/principal.h"

/// Experiments and runs with their metrics, parameters and tags. Functions over a connection, so that several subjects
/// can share one transaction; those that change something belong on the writer.
///
/// Error texts and limits are MLflow's: its clients and their tests know them.
namespace lathe::tracking {

struct Tag {
  std::string key;
  std::string value;
};

struct Param {
  std::string key;
  std::string value;
};

/// One point. `value` may be NaN; infinities are kept as the largest finite numbers.
struct Metric {
  std::string key;
  double value = 0;
  std::int64_t timestamp_ms = 0;
  std::int64_t step = 0;
  /// Set when the point also belongs to a logged model, and perhaps to the data set it was measured on. Not read back
  /// with a run's metrics.
  std::string model_id = {};
  std::string dataset_name = {};
  std::string dataset_digest = {};
};

enum class Stage : std::uint8_t { active, deleted };
std::string_view stage_name(Stage stage);

/// Which records a query shows.
enum class View : std::uint8_t { active_only, deleted_only, all };

enum class RunStatus : std::uint8_t { running, scheduled, finished, failed, killed };
/// "RUNNING", "SCHEDULED", ...
std::string_view status_name(RunStatus status);
std::optional<RunStatus> parse_status(std::string_view name);

// --- experiments ---

struct Experiment {
  std::int64_t id = 0;
  std::string name;
  std::string artifact_location;
  Stage stage = Stage::active;
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
  std::vector<Tag> tags;
};

/// The one that exists from the start: "Default".
constexpr std::int64_t kDefaultExperiment = 0;

/// Says of the default experiment that it was made now: at a store's first start.
Result<void> date_default_experiment(db::Connection& c, Time now);
/// `artifact_location` empty: `mlflow-artifacts:/<id>`. Errors: `conflict` — the name is taken, also by a deleted one;
/// `invalid` — a bad name.
Result<std::int64_t> create_experiment(db::Connection& c, const std::string& name, const std::string& artifact_location,
                                       const std::vector<Tag>& tags, const std::string& created_by, Time now);
/// The id of the experiment, made when there is none. Errors: `conflict` — a deleted one has the name; `invalid`.
Result<std::int64_t> get_or_create_experiment(db::Connection& c, const std::string& name, const std::string& created_by,
                                              Time now);
/// Without tags. Errors: `not_found`.
Result<Experiment> find_experiment(db::Connection& c, std::int64_t id);
Result<std::optional<Experiment>> find_experiment_by_name(db::Connection& c, const std::string& name);
Result<std::vector<Tag>> experiment_tags(db::Connection& c, std::int64_t id);
/// Errors: `not_found`; `conflict` — the name is taken; `invalid` — deleted, or a bad name.
Result<void> rename_experiment(db::Connection& c, std::int64_t id, const std::string& name, Time now);
/// Marks the experiment and its runs as deleted, or takes that back. Errors: `not_found`, also when it is so already;
/// `conflict` — a job of it has not ended.
Result<void> delete_experiment(db::Connection& c, std::int64_t id, Time now);
Result<void> restore_experiment(db::Connection& c, std::int64_t id, Time now);
/// Errors: `conflict` — a job of the experiment has not ended.
Result<void> check_no_job_runs(db::Connection& c, std::int64_t id);
Result<void> set_experiment_tag(db::Connection& c, std::int64_t id, const Tag& tag, Time now);
Result<void> delete_experiment_tag(db::Connection& c, std::int64_t id, const std::string& key, Time now);

// --- runs ---

struct RunSpec {
  std::string run_id = {};  ///< empty: 32 random hex digits
  std::int64_t experiment_id = kDefaultExperiment;
  std::string run_name = {};  ///< empty: a random one
  std::string user = {};      ///< as the client calls itself; empty: `created_by`
  std::string created_by = {};
  std::int64_t start_ms = 0;
  RunStatus status = RunStatus::running;
  std::vector<Tag> tags = {};
  bool job = false;                       ///< the run is a job: its process alone decides its status
  std::optional<std::string> owner = {};  ///< the job whose token makes this run
};

struct RunInfo {
  std::int64_t number = 0;  ///< the store's own, for joins
  std::string run_id;
  std::int64_t experiment_id = 0;
  std::string run_name;
  std::string user;
  RunStatus status = RunStatus::running;
  std::int64_t start_ms = 0;
  std::optional<std::int64_t> end_ms;
  Stage stage = Stage::active;
  std::string artifact_uri;  ///< `mlflow-artifacts:/<experiment>/<run>/artifacts`
  bool job = false;
  std::optional<std::string> owner;
  std::string created_by;
};

struct Run {
  RunInfo info;
  std::vector<Metric> metrics;  ///< the latest point of each
  std::vector<Param> params;
  std::vector<Tag> tags;
};

/// Errors: `not_found` — no such experiment; `invalid` — it is deleted, or a bad id or tag; `conflict` — the id is
/// taken.
Result<Run> create_run(db::Connection& c, RunSpec spec);
/// Errors: `not_found`.
Result<RunInfo> find_run(db::Connection& c, std::string_view run_id);
/// With the latest metrics, parameters and tags.
Result<Run> load_run(db::Connection& c, std::string_view run_id);
/// Fills in the latest metrics, parameters and tags.
Result<Run> load_details(db::Connection& c, RunInfo info);

/// What the caller may change: any run for a person; for a job's token the job's own run and the runs it made.
/// Errors: `forbidden`.
Result<void> check_may_write(const http::Principal& who, const RunInfo& run);
/// The run, for writing: it exists, is not deleted, and `who` may write it. Errors: `not_found`, `invalid`,
/// `forbidden`.
Result<RunInfo> writable_run(db::Connection& c, const http::Principal& who, std::string_view run_id);

/// What a client asks for. The status of a job's run stays as its process made it.
struct RunChange {
  std::optional<RunStatus> status = {};
  std::optional<std::int64_t> end_ms = {};
  std::optional<std::string> run_name = {};
};
Result<RunInfo> update_run(db::Connection& c, RunInfo run, const RunChange& change);
/// For jobs: sets the status of the run whatever it is. `end_ms` absent: not ended. Errors: `not_found`.
Result<void> set_run_status(db::Connection& c, const std::string& run_id, RunStatus status,
                            std::optional<std::int64_t> end_ms);
/// Errors: `conflict` — the run is a job that has not ended.
Result<void> check_job_ended(const RunInfo& run);
/// Errors: as check_job_ended.
Result<void> delete_run(db::Connection& c, const RunInfo& run, Time now);
Result<void> restore_run(db::Connection& c, const RunInfo& run);

// --- what runs log ---

constexpr std::size_t kMostMetricsPerBatch = 1000;
constexpr std::size_t kMostParamsPerBatch = 100;
constexpr std::size_t kMostTagsPerBatch = 100;
constexpr std::size_t kMostEntitiesPerBatch = 1000;

/// An identical point is dropped silently. Errors: `invalid` — a bad key.
Result<void> log_metrics(db::Connection& c, const RunInfo& run, const std::vector<Metric>& metrics);
/// Points that somebody logs to a run.
struct PointsToLog {
  std::string run_id;
  http::Principal who;
  std::vector<Metric> metrics;  ///< of no logged model
  Result<void> outcome = {};
};
/// Logs for many callers with few statements: as `writable_run` and `log_metrics` for each, whose outcome says what
/// they would have answered. An error: nothing was written.
Result<void> log_together(db::Connection& c, std::span<PointsToLog* const> all);
/// The point of a logged model alone, as log_metrics keeps it beside the run's. A model that is not there is passed
/// over.
Result<void> log_model_metric(db::Connection& c, const RunInfo& run, const Metric& point);
/// Errors: `invalid` — a bad key, a value that is too long, or another value was logged before.
Result<void> log_params(db::Connection& c, const RunInfo& run, const std::vector<Param>& params);
/// `mlflow.runName` renames the run too.
Result<void> set_tags(db::Connection& c, const RunInfo& run, const std::vector<Tag>& tags);
/// Errors: `not_found` — the run has no such tag.
Result<void> delete_tag(db::Connection& c, const RunInfo& run, const std::string& key);

Result<std::optional<std::string>> find_tag(db::Connection& c, const RunInfo& run, std::string_view key);

/// As above by id, for subjects that made the run themselves.
Result<void> log_param(db::Connection& c, const std::string& run_id, const std::string& key, const std::string& value);
Result<void> set_tag(db::Connection& c, const std::string& run_id, const std::string& key, const std::string& value);

}  // namespace lathe::tracking
