#include <fmt/format.h>

#include "base/text.h"
#include "mlflow/places.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

// Uploads and downloads that clients do with the artifacts' own place, without the bytes coming by here: MLflow's
// multipart uploads and presigned addresses.
namespace lathe::mlflow {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

constexpr std::int64_t kMostParts = 10'000;            // S3's own limit
constexpr std::int64_t kMostLives = 7 * 24 * 60 * 60;  // seconds, likewise
constexpr std::int64_t kDownloadLives = 5 * 60;        // MLflow's defaults
constexpr std::int64_t kUploadLives = 15 * 60;

constexpr std::string_view kInAFolder = "the artifacts lie in a folder of the server, which a plain PUT or GET serves";

/// Clients fall back to a plain PUT or GET when the message begins as MLflow's does.
Response not_implemented(std::string_view what, std::string_view why) {
  auto response = http::json_response(
      json::Object{{"error_code", "NOT_IMPLEMENTED"},
                   {"message", fmt::format("{} is not supported for the current artifact repository: {}", what, why)}});
  response.status = 501;
  return response;
}

std::string path_of(const Call& call) {
  std::string path(call.param("path"));
  while (path.ends_with('/')) path.pop_back();
  return path;
}

Result<std::chrono::seconds> lives_of(const std::optional<std::int64_t>& asked, std::int64_t absent) {
  const auto seconds = asked.value_or(absent);
  if (seconds < 1 || seconds > kMostLives)
    return fail(Code::invalid,
                fmt::format("Invalid value {} for parameter 'expiration' supplied. It must be from 1 to {} seconds.",
                            seconds, kMostLives));
  return std::chrono::seconds{seconds};
}

/// That the caller may write what lies at a path.
Result<void> check_write(db::Database& db, const Call& call, const std::string& path) {
  LATHE_TRY(const auto place, parse_place(path));
  if (place.whole)
    return fail(Code::invalid, fmt::format("Invalid path: '{}' is the folder of all artifacts", printable(path)));
  return db.read([&](db::Connection& c) { return check_may_write(c, call.principal, place); });
}

/// The file that the three steps of an upload name: the folder in the path, and the last part of the body's "path",
/// which is a path of the client's own machine.
Result<std::string> file_of(db::Database& db, const Call& call, const Message& fields) {
  LATHE_TRY(const auto local, fields.need("path"));
  const auto path = path_of(call) + "/" + local.substr(local.rfind('/') + 1);
  LATHE_CHECK(check_write(db, call, path));
  return path;
}

Result<Response> begin(db::Database& db, storage::Direct& direct, const Call& call) {
  // MLflow 2.10 names the folder without the run here, and rightly in a plain PUT.
  if (!parse_place(path_of(call) + "/x")) return not_implemented("Multipart upload", "the path names no run");
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto path, file_of(db, call, fields));
  LATHE_TRY(const auto parts, fields.integer("num_parts"));
  if (!parts || *parts < 1 || *parts > kMostParts)
    return fail(Code::invalid,
                fmt::format("Invalid value for parameter 'num_parts' supplied. It must be from 1 to {}.", kMostParts));
  LATHE_TRY(const auto begun, direct.begin(path, static_cast<int>(*parts)));
  json::Array credentials;
  for (const auto& url : begun.urls)
    credentials.push_back(
        json::Object{{"url", url}, {"part_number", credentials.size() + 1}, {"headers", json::Object{}}});
  return http::json_response(json::Object{{"upload_id", begun.upload_id}, {"credentials", std::move(credentials)}});
}

Result<Response> complete(db::Database& db, storage::Direct& direct, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto path, file_of(db, call, fields));
  LATHE_TRY(const auto upload_id, fields.need("upload_id"));
  LATHE_TRY(const auto sent, fields.list("parts"));
  std::vector<storage::Direct::Part> parts;
  for (const auto& each : sent) {
    LATHE_TRY(const auto number, each.integer("part_number"));
    LATHE_TRY(auto etag, each.need("etag"));
    if (!number || *number < 1 || *number > kMostParts)
      return fail(
          Code::invalid,
          fmt::format("Invalid value for parameter 'part_number' supplied. It must be from 1 to {}.", kMostParts));
    parts.push_back({static_cast<int>(*number), std::move(etag)});
  }
  if (parts.empty()) return fail(Code::invalid, "Missing value for required parameter 'parts'.");
  LATHE_CHECK(direct.complete(path, upload_id, parts));
  return http::json_response(json::Object{});
}

Result<Response> abort(db::Database& db, storage::Direct& direct, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto path, file_of(db, call, fields));
  LATHE_TRY(const auto upload_id, fields.need("upload_id"));
  LATHE_CHECK(direct.abort(path, upload_id));
  return http::json_response(json::Object{});
}

Result<Response> download_url(storage::Direct& direct, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto asked, fields.integer("expiration"));
  LATHE_TRY(const auto lives, lives_of(asked, kDownloadLives));
  LATHE_TRY(const auto signed_one, direct.download_url(path_of(call), lives));
  return http::json_response(
      json::Object{{"url", signed_one.url}, {"headers", json::Object{}}, {"file_size", signed_one.size}});
}

/// The address to PUT a file of a run or of a logged model to.
Result<Response> upload_url(db::Database& db, storage::Direct& direct, const Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto relative, fields.need("path"));
  LATHE_CHECK(check_path(relative));
  LATHE_TRY(const auto asked, fields.integer("expiration"));
  LATHE_TRY(const auto lives, lives_of(asked, kUploadLives));
  LATHE_TRY(const auto model_id, fields.text("model_id"));
  LATHE_TRY(const auto uri, db.read([&](db::Connection& c) -> Result<std::string> {
    if (!model_id.empty()) {
      LATHE_TRY(const auto model, tracking::find_logged_model(c, model_id));
      return model.artifact_uri;
    }
    LATHE_TRY(const auto run_id, fields.run_id());
    LATHE_CHECK(tracking::check_run_id(run_id));
    LATHE_TRY(const auto run, tracking::find_run(c, run_id));
    return run.artifact_uri;
  }));
  const auto root = artifact_path(uri);
  if (!root) return fail(Code::invalid, fmt::format("the artifacts at {} are not kept by this server", uri));
  const auto path = *root + "/" + relative;
  LATHE_CHECK(check_write(db, call, path));
  LATHE_TRY(const auto url, direct.upload_url(path, lives));
  return http::json_response(json::Object{{"presigned_url", url}, {"headers", json::Object{}}});
}

}  // namespace

void add_direct_routes(Table& table, storage::Storage& artifacts) {
  auto& db = table.db();
  auto* const direct = artifacts.direct();
  const auto step = [&](const std::string& name, const char* summary,
                        Result<Response> (*handler)(db::Database&, storage::Direct&, const Call&)) {
    table.add_waiting("artifact_mpu_" + name, Method::post, "/mlflow-artifacts/mpu/" + name + "/{path*}", Right::track,
                      summary, [&db, direct, handler](Call& call) -> Result<Response> {
                        LATHE_CHECK(check_path(path_of(call)));
                        if (direct == nullptr) return not_implemented("Multipart upload", kInAFolder);
                        return handler(db, *direct, call);
                      });
  };
  step("create", "Begin an upload in parts, each to an address of its own.", begin);
  step("complete", "Make the parts one file.", complete);
  step("abort", "Give an upload in parts up.", abort);
  table.add_waiting("artifact_presigned", Method::get, "/mlflow-artifacts/presigned/{path*}", Right::read,
                    "An address to download an artifact from.", [direct](Call& call) -> Result<Response> {
                      LATHE_CHECK(parse_place(path_of(call)));
                      if (direct == nullptr) return not_implemented("Multipart download", kInAFolder);
                      return download_url(*direct, call);
                    });
  table.add_waiting("artifact_presigned_upload", Method::post, "/mlflow/artifacts/presigned-upload-url", Right::track,
                    "An address to upload an artifact to.", [&db, direct](Call& call) -> Result<Response> {
                      if (direct == nullptr) return not_implemented("Presigned upload", kInAFolder);
                      return upload_url(db, *direct, call);
                    });
}

}  // namespace lathe::mlflow
