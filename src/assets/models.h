#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assets/assets.h"
#include "registry/registry.h"
#include "storage/storage.h"

/// Azure's side of the model registry: model files by digest, and where each model came from. A version made through
/// MLflow is the same version here.
namespace lathe::assets {

struct InputOrigin {
  std::string name;
  std::string reference;              ///< as the job's file gave it
  std::optional<std::string> digest;  ///< of what was read
};

/// What a job knows about itself.
struct JobOrigin {
  std::string command;
  std::optional<std::string> code_digest;
  std::optional<std::string> environment_digest;
  std::string environment_runs_as;
  std::vector<InputOrigin> data;
  std::map<std::string, std::string> parameters;  ///< its literal inputs
};
/// nullopt: the run is not a job.
using FindJobOrigin = std::function<Result<std::optional<JobOrigin>>(db::Connection&, const std::string& job)>;

/// A version's files, which never change.
struct ModelContent {
  std::string type;  ///< custom_model, mlflow_model, triton_model
  std::string path;  ///< as it was given; empty for one made through MLflow
  std::string tree;  ///< digest of the folder
  std::int64_t size_bytes = 0;
  json::Value flavors;  ///< of MLmodel, or as given
};

class Models {
 public:
  Models(Assets& assets, storage::Storage& artifacts, FindJobOrigin find_job)
      : assets_(assets), artifacts_(artifacts), find_job_(std::move(find_job)) {}

  /// The answer is the version as `show` gives it, with the report.
  Result<json::Value> create(const json::Object& document, const http::Principal& who, bool local, bool strict);
  /// With files and the triple: what made it, as far as it is known.
  Result<json::Value> show(const registry::Version& version);
  /// Without files and triple: quick.
  Result<json::Value> summary(const registry::Version& version);

  /// By azureml:NAME:VERSION, azureml:NAME@LABEL or azureml:NAME. Errors: `not_found`, `invalid`.
  Result<registry::Version> find(const std::string& reference);
  Result<registry::Version> find_version(const std::string& name, const std::string& version);
  Result<registry::Version> find_by_label(const std::string& name, const std::string& label);

  /// The version's files; takes them in when nobody did yet. Errors: `not_found` — its files are gone.
  Result<ModelContent> content(const registry::Version& version);
  /// What lies at mlflow-artifacts:/PATH, as a model. Errors: `not_found`; `invalid` — it lies elsewhere.
  Result<ModelContent> content_at(const std::string& artifact_uri);
  /// A read-only folder with the version's files.
  Result<std::filesystem::path> folder(const registry::Version& version);
  /// For a job's input of a model type.
  Result<Resolved> resolve(const std::string& reference);

  Assets& assets() { return assets_; }

 private:
  struct Source;
  Result<Source> locate(const Reference& reference, const http::Principal& who, bool local);
  Result<ModelContent> take(const std::filesystem::path& path, bool ours);
  Result<ModelContent> take_artifacts(const std::string& path);
  Result<json::Value> triple(const registry::Version& version);

  Assets& assets_;
  storage::Storage& artifacts_;
  FindJobOrigin find_job_;
};

/// /api/v1/models
void add_routes(http::Router& router, Models& models);

}  // namespace lathe::assets
