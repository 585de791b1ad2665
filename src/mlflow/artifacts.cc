#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "mlflow/places.h"
#include "mlflow/table.h"
#include "mlflow/trace_wire.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

std::string path_of(const Call& call) {
  std::string path(call.param("path"));
  while (path.ends_with('/')) path.pop_back();
  return path;
}

std::optional<std::string_view> range_of(const Call& call) {
  return call.header("range");
}

/// How long the body is, when the client says so.
std::optional<std::uint64_t> length_of(const Call& call) {
  const auto text = call.header("content-length").value_or("");
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Response> listing(storage::Storage& artifacts, const std::string& path) {
  LATHE_TRY(const auto entries, artifacts.list(path));
  json::Object out;
  if (auto files = to_wire(entries, ""); !files.empty()) out["files"] = std::move(files);
  return http::json_response(std::move(out));
}

/// The folder and the prefix for names: where `relative` lies below an artifact URI.
Result<std::string> below(const std::string& uri, const std::string& relative) {
  LATHE_CHECK(check_path(relative));
  const auto root = artifact_path(uri);
  if (!root) return fail(Code::invalid, fmt::format("the artifacts at {} are not kept by this server", uri));
  return relative.empty() ? *root : *root + "/" + relative;
}

Result<Response> list_of_run(db::Database& db, storage::Storage& artifacts, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto run_id, fields.run_id());
  LATHE_TRY(const auto path, fields.text("path"));
  LATHE_CHECK(check_path(path));
  LATHE_CHECK(tracking::check_run_id(run_id));
  LATHE_TRY(const auto run, db.read([&](db::Connection& c) { return tracking::find_run(c, run_id); }));
  LATHE_TRY(const auto folder, below(run.artifact_uri, path));
  LATHE_TRY(const auto entries, artifacts.list(folder));
  json::Object out{{"root_uri", run.artifact_uri}};
  const auto relative = path.empty() ? "" : tracking::normal_path(path);
  if (auto files = to_wire(entries, relative.empty() || relative == "." ? "" : relative + "/"); !files.empty())
    out["files"] = std::move(files);
  return http::json_response(std::move(out));
}

Result<Response> file_of_run(db::Database& db, storage::Storage& artifacts, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto run_id, fields.run_id());
  LATHE_TRY(const auto path, fields.need("path"));
  LATHE_CHECK(check_path(path));
  LATHE_CHECK(tracking::check_run_id(run_id));
  LATHE_TRY(const auto run, db.read([&](db::Connection& c) { return tracking::find_run(c, run_id); }));
  LATHE_TRY(const auto file, below(run.artifact_uri, path));
  return artifacts.download(file, range_of(call));
}

Result<Response> file_of_version(db::Database& db, storage::Storage& artifacts, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto name, fields.need("name"));
  LATHE_TRY(const auto number, version_of(fields));
  LATHE_TRY(const auto path, fields.need("path"));
  LATHE_CHECK(check_path(path));
  LATHE_TRY(const auto version,
            db.read([&](db::Connection& c) { return registry::find_version(c, name, number); }));
  LATHE_TRY(const auto file, below(version.artifact_uri, path));
  return artifacts.download(file, range_of(call));
}

}  // namespace

void add_artifact_routes(Table& table, storage::Storage& artifacts) {
  auto& db = table.db();
  table.add_waiting("artifact_list", Method::get, "/mlflow/artifacts/list", Right::read,
            "What a folder of a run's artifacts holds.", [&](Call& call) { return list_of_run(db, artifacts, call); });
  table.add_waiting("artifact_list_path", Method::get, "/mlflow-artifacts/artifacts", Right::read,
            "What a folder of artifacts holds.", [&](Call& call) -> Result<Response> {
              const auto path = call.query("path").value_or("");
              LATHE_CHECK(parse_place(path));
              return listing(artifacts, path);
            });
  table.add_waiting("artifact_get", Method::get, "/mlflow-artifacts/artifacts/{path*}", Right::read, "An artifact's bytes.",
            [&](Call& call) -> Result<Response> {
              const auto path = path_of(call);
              LATHE_TRY(const auto place, parse_place(path));
              if (path.ends_with("/artifacts/traces.json") && !place.trace_id.empty())
                return trace_data(db, artifacts, place.trace_id, range_of(call));
              return artifacts.download(path, range_of(call));
            });
  table.add_upload("artifact_put", "/mlflow-artifacts/artifacts/{path*}", "Keep an artifact, streamed.",
                   [&](Call& call) -> Result<std::unique_ptr<http::Sink>> {
                     const auto path = path_of(call);
                     LATHE_TRY(const auto place, parse_place(path));
                     if (place.whole) return fail(Code::invalid, fmt::format("Invalid path: '{}' is the folder of all artifacts", printable(path)));
                     LATHE_CHECK(db.read([&](db::Connection& c) { return check_may_write(c, call.principal, place); }));
                     return artifacts.upload(path, length_of(call));
                   });
  table.add_waiting("artifact_delete", Method::del, "/mlflow-artifacts/artifacts/{path*}", Right::track,
            "Remove an artifact, or a folder of them.", [&](Call& call) -> Result<Response> {
              const auto path = path_of(call);
              LATHE_TRY(const auto place, parse_place(path));
              LATHE_CHECK(db.read([&](db::Connection& c) { return check_may_write(c, call.principal, place); }));
              LATHE_CHECK(artifacts.remove(path));
              return http::json_response(json::Object{});
            });
  // What MLflow's web app downloads by.
  const auto download = [&](const char* id, const char* path, const char* summary, http::Router::Plain handler) {
    http::Route route;
    route.id = id;
    route.method = Method::get;
    route.path = path;
    route.right = Right::read;
    route.summary = summary;
    route.jobs = true;
    route.errors = http::ErrorShape::mlflow;
    route.in_openapi = false;
    route.waits = true;
    table.router().add(std::move(route), std::move(handler));
  };
  download("mlflow_get_artifact", "/get-artifact", "A file of a run.",
           [&](Call& call) { return file_of_run(db, artifacts, call); });
  download("mlflow_version_artifact", "/model-versions/get-artifact", "A file of a model version.",
           [&](Call& call) { return file_of_version(db, artifacts, call); });
}

}  // namespace lathe::mlflow
