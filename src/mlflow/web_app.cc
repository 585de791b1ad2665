// What MLflow's web app asks for beyond what its clients do.
#include <fmt/format.h>

#include "mlflow/places.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Call;
using http::Method;
using http::Right;

constexpr std::size_t kMostUpload = std::size_t{10} << 20;
constexpr std::size_t kMostExperiments = 20;

/// A small file, in one body.
Result<http::Response> upload_artifact(db::Database& db, storage::Storage& artifacts, const Call& call) {
  const auto run_id = call.query("run_uuid").value_or("");
  const auto path = call.query("path").value_or("");
  if (run_id.empty()) return fail(Code::invalid, "Request must specify run_uuid.");
  if (path.empty()) return fail(Code::invalid, "Request must specify path.");
  LATHE_CHECK(check_path(path));
  if (call.body.size() > kMostUpload) return fail(Code::invalid, "Artifact size is too large. Max size is 10MB.");
  if (call.body.empty()) return fail(Code::invalid, "Request must specify data.");
  LATHE_TRY(const auto run,
            db.read([&](db::Connection& c) { return tracking::writable_run(c, call.principal, run_id); }));
  const auto root = artifact_path(run.artifact_uri);
  if (!root) return fail(Code::invalid, fmt::format("the artifacts at {} are not kept by this server", run.artifact_uri));
  LATHE_TRY(const auto sink, artifacts.upload(*root + "/" + path));
  LATHE_CHECK(sink->write(call.body));
  return sink->finish();
}

Result<json::Object> search_datasets(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto experiments, asked.fields.texts("experiment_ids"));
  if (experiments.empty())
    return fail(Code::invalid, "SearchDatasets request must specify at least one experiment_id.");
  if (experiments.size() > kMostExperiments)
    return fail(Code::invalid, fmt::format("SearchDatasets request cannot specify more than {} experiment_ids. Received "
                                           "{} experiment_ids.",
                                           kMostExperiments, experiments.size()));
  json::Array summaries;
  for (const auto& text : experiments) {
    LATHE_TRY(const auto id, tracking::parse_experiment_id(text));
    LATHE_TRY(const auto found, tracking::datasets_of(c, id));
    for (const auto& dataset : found) {
      json::Object one{{"experiment_id", text}, {"name", dataset.name}, {"digest", dataset.digest}};
      if (dataset.context) one["context"] = *dataset.context;
      summaries.push_back(std::move(one));
    }
  }
  json::Object out;
  if (!summaries.empty()) out["dataset_summaries"] = std::move(summaries);
  return out;
}

}  // namespace

void add_web_app_routes(Table& table, storage::Storage& artifacts) {
  auto& db = table.db();
  table.read("dataset_search", Method::post, "/mlflow/experiments/search-datasets", "The data sets of experiments.",
             search_datasets);
  table.add_waiting(
      "artifact_upload", Method::post, "/mlflow/upload-artifact", Right::track, "Keep a small file of a run.",
      [&](Call& call) { return upload_artifact(db, artifacts, call); }, kMostUpload + 4096);
}

}  // namespace lathe::mlflow
