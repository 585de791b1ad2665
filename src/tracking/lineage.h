#pragma once

#include <map>

#include "tracking/search.h"

/// What runs read and made: data sets and logged models.
namespace lathe::tracking {

struct Dataset {
  std::string name;
  std::string digest;
  std::string source_type;
  std::string source;
  std::optional<std::string> schema;
  std::optional<std::string> profile;
};
struct DatasetInput {
  Dataset dataset;
  std::vector<Tag> tags;
};
struct ModelLink {
  std::string model_id;
  std::int64_t step = 0;
};
struct RunLineage {
  std::vector<DatasetInput> datasets;
  std::vector<ModelLink> model_inputs;
  std::vector<ModelLink> model_outputs;
};

/// Errors: `invalid` — a field that is missing or too long; `not_found` — no such logged model.
Result<void> log_datasets(db::Connection& c, const RunInfo& run, const std::vector<DatasetInput>& inputs);
enum class ModelRole : std::uint8_t { input, output };
Result<void> log_run_models(db::Connection& c, const RunInfo& run, ModelRole role,
                            const std::vector<ModelLink>& models);
Result<RunLineage> load_lineage(db::Connection& c, const RunInfo& run);
/// The runs of one page at once, by run number; runs without any are left out.
Result<std::map<std::int64_t, RunLineage>> load_lineages(db::Connection& c, const std::vector<Run>& runs);

struct DatasetSummary {
  std::string name;
  std::string digest;
  std::optional<std::string> context;  ///< what a run used it for: "training", ...
};
/// The data sets that an experiment's runs used, newest first, at most 1000.
Result<std::vector<DatasetSummary>> datasets_of(db::Connection& c, std::int64_t experiment_id);

// --- logged models ---

struct LoggedModel {
  std::string model_id;  ///< m-<32 hex digits>
  std::int64_t experiment_id = 0;
  std::string name;
  std::string artifact_uri;
  std::string status;  ///< LOGGED_MODEL_PENDING, LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED
  std::string model_type;
  std::string source_run_id;  ///< empty: none
  std::string created_by;
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
  std::vector<Param> params;
  std::vector<Tag> tags;
  struct Point {
    Metric metric;
    std::string run_id;
  };
  std::vector<Point> metrics;
};

struct LoggedModelSpec {
  std::int64_t experiment_id = kDefaultExperiment;
  std::string name = {};  ///< empty: a random one
  std::string model_type = {};
  std::string source_run_id = {};
  std::vector<Param> params = {};
  std::vector<Tag> tags = {};
  std::string created_by = {};
};

/// Errors: `not_found` — no such experiment or run; `invalid` — a bad name, key or value.
Result<LoggedModel> create_logged_model(db::Connection& c, const LoggedModelSpec& spec, Time now);
/// With details. Errors: `not_found`, also for a deleted one.
Result<LoggedModel> find_logged_model(db::Connection& c, const std::string& model_id);
/// Errors: as find_logged_model; `forbidden` — a job's token may change the models of its own runs only.
Result<LoggedModel> writable_logged_model(db::Connection& c, const http::Principal& who, const std::string& model_id);
Result<void> finalize_logged_model(db::Connection& c, const std::string& model_id, const std::string& status, Time now);
Result<void> delete_logged_model(db::Connection& c, const std::string& model_id, Time now);
Result<void> log_model_params(db::Connection& c, const std::string& model_id, const std::vector<Param>& params);
Result<void> set_model_tags(db::Connection& c, const std::string& model_id, const std::vector<Tag>& tags, Time now);
/// Errors: `not_found` — no such tag.
Result<void> delete_model_tag(db::Connection& c, const std::string& model_id, const std::string& key, Time now);

struct ModelOrder {
  std::string field;
  bool ascending = true;
  std::string dataset_name = {};
  std::string dataset_digest = {};
};
struct ModelDataset {
  std::string name;
  std::string digest = {};  ///< empty: any
};
struct ModelSearch {
  std::vector<std::int64_t> experiments = {};
  std::string filter = {};
  std::size_t limit = 100;
  std::vector<ModelOrder> order_by = {};
  std::vector<ModelDataset> datasets = {};  ///< metrics of these only, where any is named
  std::string page_token = {};
};
Result<Page<LoggedModel>> search_logged_models(db::Connection& c, const ModelSearch& search);

}  // namespace lathe::tracking
