#include <fmt/format.h>

#include "mlflow/places.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

constexpr std::size_t kMostExperiments = 10'000;
constexpr std::size_t kMostOrders = 16;
constexpr std::size_t kMostDatasets = 100;
constexpr std::string_view kModel = "/mlflow/logged-models/{model_id}";

std::string model_id(const Asked& asked) {
  return std::string(asked.call.param("model_id"));
}

Result<json::Object> model_answer(db::Connection& c, const std::string& id) {
  LATHE_TRY(const auto model, tracking::find_logged_model(c, id));
  return json::Object{{"model", to_wire(model)}};
}

std::vector<tracking::Param> params_of(std::vector<Pair> pairs) {
  std::vector<tracking::Param> out;
  for (auto& pair : pairs) out.push_back({std::move(pair.key), std::move(pair.value)});
  return out;
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  tracking::LoggedModelSpec spec;
  LATHE_TRY(const auto experiment, asked.fields.need("experiment_id"));
  LATHE_TRY(spec.experiment_id, tracking::parse_experiment_id(experiment));
  LATHE_TRY(spec.name, asked.fields.text("name"));
  LATHE_TRY(spec.model_type, asked.fields.text("model_type"));
  LATHE_TRY(spec.source_run_id, asked.fields.text("source_run_id"));
  LATHE_TRY(auto params, asked.fields.pairs("params"));
  LATHE_TRY(auto tags, asked.fields.pairs("tags"));
  spec.params = params_of(std::move(params));
  spec.tags = tags_of(std::move(tags));
  spec.created_by = asked.who().user;
  if (asked.who().run) {
    if (spec.source_run_id.empty()) spec.source_run_id = *asked.who().run;
    LATHE_CHECK(tracking::writable_run(c, asked.who(), spec.source_run_id));
  }
  LATHE_TRY(const auto model, tracking::create_logged_model(c, spec, asked.now));
  return json::Object{{"model", to_wire(model)}};
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  return model_answer(c, model_id(asked));
}

Result<std::string> status_of(const Message& fields) {
  static constexpr std::string_view kNames[] = {"LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
                                                "LOGGED_MODEL_UPLOAD_FAILED"};
  LATHE_CHECK(fields.check_there("status"));
  LATHE_TRY(const auto status, fields.choice("status", {kNames[0], kNames[1], kNames[2]}));
  return std::string(kNames[status.value_or(1) - 1]);
}

Result<json::Object> finalize(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto status, status_of(asked.fields));
  LATHE_CHECK(tracking::writable_logged_model(c, asked.who(), model_id(asked)));
  LATHE_CHECK(tracking::finalize_logged_model(c, model_id(asked), status, asked.now));
  return model_answer(c, model_id(asked));
}

Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_CHECK(tracking::find_logged_model(c, model_id(asked)));
  LATHE_CHECK(tracking::delete_logged_model(c, model_id(asked), asked.now));
  return json::Object{};
}

Result<json::Object> log_params(db::Connection& c, const Asked& asked) {
  LATHE_TRY(auto params, asked.fields.pairs("params"));
  LATHE_CHECK(tracking::writable_logged_model(c, asked.who(), model_id(asked)));
  LATHE_CHECK(tracking::log_model_params(c, model_id(asked), params_of(std::move(params))));
  return json::Object{};
}

Result<json::Object> set_tags(db::Connection& c, const Asked& asked) {
  LATHE_TRY(auto tags, asked.fields.pairs("tags"));
  LATHE_CHECK(tracking::writable_logged_model(c, asked.who(), model_id(asked)));
  LATHE_CHECK(tracking::set_model_tags(c, model_id(asked), tags_of(std::move(tags)), asked.now));
  return model_answer(c, model_id(asked));
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_CHECK(tracking::writable_logged_model(c, asked.who(), model_id(asked)));
  LATHE_CHECK(tracking::delete_model_tag(c, model_id(asked), std::string(asked.call.param("key")), asked.now));
  return json::Object{};
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  tracking::ModelSearch search;
  LATHE_CHECK(asked.fields.check_there("experiment_ids"));
  LATHE_TRY(const auto experiments, asked.fields.texts("experiment_ids"));
  for (const auto& text : experiments) {
    const auto id = tracking::parse_experiment_id(text);
    if (!id && id.error().code == Code::invalid) return fail(id.error());
    if (id) search.experiments.push_back(*id);
  }
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.limit, limit_of(asked.fields, search.limit));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto order_by, asked.fields.list("order_by"));
  if (experiments.size() > kMostExperiments || order_by.size() > kMostOrders)
    return fail(Code::invalid, fmt::format("a search of logged models takes at most {} experiment_ids and {} terms of order_by",
                                           kMostExperiments, kMostOrders));
  for (const auto& item : order_by) {
    tracking::ModelOrder order;
    LATHE_TRY(order.field, item.need("field_name"));
    LATHE_TRY(order.ascending, item.flag("ascending", true));
    LATHE_TRY(order.dataset_name, item.text("dataset_name"));
    LATHE_TRY(order.dataset_digest, item.text("dataset_digest"));
    search.order_by.push_back(std::move(order));
  }
  LATHE_TRY(const auto datasets, asked.fields.list("datasets"));
  if (datasets.size() > kMostDatasets)
    return fail(Code::invalid, fmt::format("a search of logged models takes at most {} datasets", kMostDatasets));
  for (const auto& item : datasets) {
    tracking::ModelDataset dataset;
    LATHE_TRY(dataset.name, item.text("dataset_name"));
    LATHE_TRY(dataset.digest, item.text("dataset_digest"));
    search.datasets.push_back(std::move(dataset));
  }
  LATHE_TRY(const auto page, tracking::search_logged_models(c, search));
  json::Array models;
  for (const auto& model : page.items) models.push_back(to_wire(model));
  json::Object out;
  if (!models.empty()) out["models"] = std::move(models);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

Result<tracking::LoggedModel> find(db::Database& db, const http::Call& call) {
  return db.read(
      [&](db::Connection& c) { return tracking::find_logged_model(c, std::string(call.param("model_id"))); });
}

/// The path below the artifact root that the query names, and the model's own root.
Result<std::pair<std::string, tracking::LoggedModel>> place_of(db::Database& db, const http::Call& call,
                                                               std::string_view field) {
  const auto relative = call.query(field).value_or("");
  LATHE_CHECK(check_path(relative));
  LATHE_TRY(auto model, find(db, call));
  const auto root = artifact_path(model.artifact_uri).value_or("");
  return std::pair{relative.empty() ? root : root + "/" + relative, std::move(model)};
}

Result<http::Response> list_artifacts(db::Database& db, storage::Storage& artifacts, const http::Call& call) {
  LATHE_TRY(const auto place, place_of(db, call, "artifact_directory_path"));
  LATHE_TRY(const auto entries, artifacts.list(place.first));
  const auto relative = call.query("artifact_directory_path").value_or("");
  json::Object out{{"root_uri", place.second.artifact_uri}};
  if (auto files = to_wire(entries, relative.empty() ? "" : tracking::normal_path(relative) + "/"); !files.empty())
    out["files"] = std::move(files);
  return http::json_response(std::move(out));
}

Result<http::Response> file_of_model(db::Database& db, storage::Storage& artifacts, const http::Call& call) {
  if (call.query("artifact_file_path").value_or("").empty())
    return fail(Error{Code::invalid, "Request must include the \"artifact_file_path\" query parameter.", "BAD_REQUEST"});
  LATHE_TRY(const auto place, place_of(db, call, "artifact_file_path"));
  return artifacts.download(place.first, call.header("range"));
}

}  // namespace

void add_logged_model_routes(Table& table, storage::Storage& artifacts) {
  const std::string one(kModel);
  table.write("logged_model_create", Method::post, "/mlflow/logged-models", Right::track, "Make a logged model.",
              create);
  table.read("logged_model_search", Method::post, "/mlflow/logged-models/search", "Logged models that match a filter.",
             search);
  table.read("logged_model_get", Method::get, one, "One logged model.", get);
  table.write("logged_model_finalize", Method::patch, one, Right::track,
              "Say that a logged model's files are complete.", finalize);
  table.write("logged_model_delete", Method::del, one, Right::write, "Mark a logged model as deleted.", remove);
  table.write("logged_model_params", Method::post, one + "/params", Right::track, "Add parameters.", log_params);
  table.write("logged_model_tags", Method::patch, one + "/tags", Right::track, "Set tags.", set_tags);
  table.write("logged_model_delete_tag", Method::del, one + "/tags/{key}", Right::track, "Remove a tag.", delete_tag);
  auto& db = table.db();
  table.add_waiting("logged_model_list", Method::get, one + "/artifacts/directories", Right::read,
                    "What a folder of the model's artifacts holds.",
                    [&](http::Call& call) { return list_artifacts(db, artifacts, call); });
  table.add_waiting("logged_model_file", Method::get, one + "/artifacts/files", Right::read, "A file of the model.",
                    [&](http::Call& call) { return file_of_model(db, artifacts, call); });
}

}  // namespace lathe::mlflow
