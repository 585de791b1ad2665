#include "assets/file_response.h"
#include "assets/models.h"
#include "base/file.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

Result<registry::Version> version_of(Models& models, const Call& call) {
  return models.find_version(std::string(call.param("name")), std::string(call.param("version")));
}

Result<std::vector<registry::Version>> shown_versions(Models& models, const Call& call, const std::string& name) {
  return models.assets().db().read(
      [&](db::Connection& c) { return registry::versions(c, name, call.query("include_archived") == "true"); });
}

Result<json::Array> summaries(Models& models, const std::vector<registry::Version>& versions) {
  json::Array out;
  for (const auto& version : versions) {
    LATHE_TRY(auto value, models.summary(version));
    out.push_back(std::move(value));
  }
  return out;
}

Result<Response> list(Models& models, Call& call) {
  json::Array out;
  if (const auto name = call.query("name")) {
    LATHE_TRY(const auto versions, shown_versions(models, call, *name));
    LATHE_TRY(out, summaries(models, versions));
  } else {
    LATHE_TRY(const auto names, models.assets().db().read([](db::Connection& c) { return registry::model_names(c); }));
    for (const auto& each : names) {
      LATHE_TRY(const auto versions, shown_versions(models, call, each));
      if (versions.empty()) continue;
      LATHE_TRY(auto value, models.summary(versions.front()));
      out.push_back(std::move(value));
    }
  }
  return http::json_response(json::Object{{"value", std::move(out)}});
}

Result<Response> files(Models& models, Call& call) {
  LATHE_TRY(const auto version, version_of(models, call));
  LATHE_TRY(const auto content, models.content(version));
  LATHE_TRY(const auto tree, models.assets().blobs().tree(content.tree));
  return http::json_response(json::Object{{"digest", content.tree}, {"value", json::to_json(tree.files)}});
}

Result<Response> file(Models& models, Call& call) {
  LATHE_TRY(const auto version, version_of(models, call));
  LATHE_TRY(const auto content, models.content(version));
  LATHE_TRY(const auto tree, models.assets().blobs().tree(content.tree));
  const std::string path(call.param("path"));
  for (const auto& each : tree.files)
    if (each.path == path) return file_response(models.assets().blobs().path_of(each.sha256), path.substr(path.rfind('/') + 1));
  std::vector<std::string> there;
  for (const auto& each : tree.files) there.push_back(each.path);
  return fail(Code::not_found, unknown_name("file", path, there));
}

}  // namespace

void add_routes(http::Router& router, Models& models) {
  const std::string base = "/api/v1/models";
  router.add({.id = "model_create", .method = Method::post, .path = base, .right = Right::write,
              .summary = "Registers a model version from a folder, a file or a job's outputs.", .waits = true},
             [&models](Call& call) -> Result<Response> {
               LATHE_TRY(const auto body, call.json_body());
               LATHE_TRY(const auto made,
                         models.create(body, call.principal, call.is_local(), call.query("strict") == "true"));
               return http::json_response(made, 201);
             });
  router.add({.id = "model_list", .method = Method::get, .path = base, .right = Right::read,
              .summary = "The newest version of each model; ?name= lists the versions of one.", .jobs = true},
             [&models](Call& call) { return list(models, call); });
  router.add({.id = "model_show", .method = Method::get, .path = base + "/{name}", .right = Right::read,
              .summary = "The newest version with what made it, and under `versions` all.", .jobs = true, .waits = true},
             [&models](Call& call) -> Result<Response> {
               const std::string name(call.param("name"));
               LATHE_TRY(const auto latest, models.find_by_label(name, "latest"));
               LATHE_TRY(auto answer, models.show(latest));
               LATHE_TRY(const auto versions, shown_versions(models, call, name));
               LATHE_TRY(answer.as_object()["versions"], summaries(models, versions));
               return http::json_response(answer);
             });
  router.add({.id = "model_version", .method = Method::get, .path = base + "/{name}/versions/{version}", .right = Right::read,
              .summary = "One version: its files with digests, and the triple that made it.", .jobs = true, .waits = true},
             [&models](Call& call) -> Result<Response> {
               LATHE_TRY(const auto version, version_of(models, call));
               LATHE_TRY(const auto answer, models.show(version));
               return http::json_response(answer);
             });
  router.add({.id = "model_label", .method = Method::get, .path = base + "/{name}/labels/{label}", .right = Right::read,
              .summary = "The version that an alias names; `latest` is the newest.", .jobs = true, .waits = true},
             [&models](Call& call) -> Result<Response> {
               LATHE_TRY(const auto version,
                         models.find_by_label(std::string(call.param("name")), std::string(call.param("label"))));
               LATHE_TRY(const auto answer, models.show(version));
               return http::json_response(answer);
             });
  router.add({.id = "model_files", .method = Method::get, .path = base + "/{name}/versions/{version}/files",
              .right = Right::read, .summary = "The version's files with digests.", .jobs = true, .waits = true},
             [&models](Call& call) { return files(models, call); });
  router.add({.id = "model_file", .method = Method::get, .path = base + "/{name}/versions/{version}/files/{path*}",
              .right = Right::read, .summary = "One file's bytes.", .jobs = true, .waits = true},
             [&models](Call& call) { return file(models, call); });
  for (const bool archive : {true, false}) {
    const std::string verb = archive ? "archive" : "restore";
    router.add_json({.id = "model_version_" + verb, .method = Method::post,
                     .path = base + "/{name}/versions/{version}/" + verb, .right = Right::write,
                     .summary = archive ? "Hides a version from lists and from `latest`." : "Shows a hidden version again."},
                    [&models, archive](Call& call) -> Result<void> {
                      LATHE_TRY(const auto version, version_of(models, call));
                      return models.assets().db().write([&](db::Connection& c) {
                        return registry::set_archived(c, version.name, version.version, archive, now());
                      });
                    });
    router.add_json({.id = "model_" + verb, .method = Method::post, .path = base + "/{name}/" + verb, .right = Right::write,
                     .summary = archive ? "Hides all versions." : "Shows all versions again."},
                    [&models, archive](Call& call) -> Result<void> {
                      const std::string name(call.param("name"));
                      return models.assets().db().write([&](db::Connection& c) -> Result<void> {
                        LATHE_CHECK(registry::find_model(c, name));
                        LATHE_TRY(const auto versions, registry::versions(c, name));
                        for (const auto& version : versions)
                          LATHE_CHECK(registry::set_archived(c, name, version.version, archive, now()));
                        return {};
                      });
                    });
  }
}

}  // namespace lathe::assets
