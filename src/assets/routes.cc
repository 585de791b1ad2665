#include "assets/assets.h"
#include "assets/file_response.h"
#include "base/text.h"

namespace lathe::assets {

struct Digests {
  std::vector<std::string> digests;
};
struct Missing {
  std::vector<std::string> missing;
};
struct TreeAnswer {
  std::string digest;
  std::int64_t files = 0;
  std::int64_t size_bytes = 0;
};

}  // namespace lathe::assets

namespace lathe::json {

template <>
struct Fields<assets::Digests> {
  static constexpr std::string_view name = "Digests";
  static constexpr auto list = std::tuple{field("digests", &assets::Digests::digests)};
};
template <>
struct Fields<assets::Missing> {
  static constexpr std::string_view name = "MissingDigests";
  static constexpr auto list = std::tuple{field("missing", &assets::Missing::missing, "not here yet: PUT these")};
};
template <>
struct Fields<assets::TreeAnswer> {
  static constexpr std::string_view name = "TreeAnswer";
  static constexpr auto list = std::tuple{field("digest", &assets::TreeAnswer::digest, "refer to it as tree:DIGEST"),
                                          field("files", &assets::TreeAnswer::files),
                                          field("size_bytes", &assets::TreeAnswer::size_bytes)};
};

}  // namespace lathe::json

namespace lathe::assets {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

class BlobSink final : public http::Sink {
 public:
  BlobSink(BlobStore::Writer writer, std::string expected) : writer_(std::move(writer)), expected_(std::move(expected)) {}
  Result<void> write(std::string_view piece) override { return writer_.write(piece); }
  Result<Response> finish() override {
    LATHE_TRY(const auto digest, writer_.finish(expected_));
    return http::json_response(json::Object{{"digest", digest}}, 201);
  }

 private:
  BlobStore::Writer writer_;
  std::string expected_;
};

bool is_strict(const Call& call) { return call.query("strict") == "true"; }

bool with_archived(const Call& call) { return call.query("include_archived") == "true"; }

Result<std::string> digest_param(const Call& call) {
  std::string digest(call.param("digest"));
  if (!is_digest(digest)) return fail(Code::invalid, "a digest is 64 lower-case hex digits, not \"" + printable(digest) + "\"");
  return digest;
}

void add_blob_routes(http::Router& router, Assets& assets) {
  router.add_json({.id = "blobs_missing", .method = Method::post, .path = "/api/v1/blobs/missing", .right = Right::write,
                   .summary = "Which of these digests the server does not hold.",
                   .body_limit = std::size_t{128} << 20, .body_schema = http::schema_of<Digests>},
                  [&assets](Call& call) -> Result<Missing> {
                    LATHE_TRY(const auto body, call.body_as<Digests>());
                    return Missing{assets.blobs().missing(body.digests)};
                  });
  router.add_upload({.id = "blob_put", .method = Method::put, .path = "/api/v1/blobs/{digest}", .right = Right::write,
                     .summary = "Uploads bytes under their SHA-256."},
                    [&assets](Call& call) -> Result<std::unique_ptr<http::Sink>> {
                      LATHE_TRY(auto digest, digest_param(call));
                      LATHE_TRY(auto writer, assets.blobs().start());
                      return std::make_unique<BlobSink>(std::move(writer), std::move(digest));
                    });
  router.add({.id = "blob_get", .method = Method::get, .path = "/api/v1/blobs/{digest}", .right = Right::read,
              .summary = "The bytes with this SHA-256.", .jobs = true},
             [&assets](Call& call) -> Result<Response> {
               LATHE_TRY(const auto digest, digest_param(call));
               if (!assets.blobs().has(digest)) return fail(Code::not_found, "no blob " + digest + " is stored here");
               return file_response(assets.blobs().path_of(digest), digest);
             });
  router.add_json({.id = "tree_put", .method = Method::post, .path = "/api/v1/trees", .right = Right::write,
                   .summary = "Makes a folder of uploaded blobs; refused while some are missing.",
                   .body_limit = std::size_t{256} << 20, .body_schema = http::schema_of<Tree>},
                  [&assets](Call& call) -> Result<TreeAnswer> {
                    LATHE_TRY(auto body, call.json_body());
                    LATHE_TRY(const auto tree, parse_tree(json::Value(std::move(body))));
                    LATHE_TRY(auto digest, assets.blobs().put_tree(tree));
                    return TreeAnswer{std::move(digest), static_cast<std::int64_t>(tree.files.size()), tree.size_bytes()};
                  });
}

/// Routes that data and environments share: only `kind` and the path differ.
void add_shared_routes(http::Router& router, Assets& assets, Kind kind, const std::string& base, const std::string& id) {
  router.add({.id = id + "_list", .method = Method::get, .path = base, .right = Right::read,
              .summary = "The newest version of each name; ?name= lists the versions of one.", .jobs = true},
             [&assets, kind](Call& call) -> Result<Response> {
               const auto name = call.query("name");
               LATHE_TRY(const auto found, assets.db().read([&](db::Connection& c) {
                 return name ? asset_versions(c, kind, *name, with_archived(call)) : list_assets(c, kind, with_archived(call));
               }));
               return http::json_response(json::Object{{"value", json::to_json(found)}});
             });
  router.add({.id = id + "_show", .method = Method::get, .path = base + "/{name}", .right = Right::read,
              .summary = "The newest version, and under `versions` all.", .jobs = true},
             [&assets, kind](Call& call) -> Result<Response> {
               const std::string name(call.param("name"));
               LATHE_TRY(const auto latest,
                         assets.db().read([&](db::Connection& c) { return find_asset_by_label(c, kind, name, "latest"); }));
               LATHE_TRY(const auto all, assets.db().read([&](db::Connection& c) {
                 return asset_versions(c, kind, name, with_archived(call));
               }));
               auto answer = json::to_json(latest);
               answer.as_object()["versions"] = json::to_json(all);
               return http::json_response(answer);
             });
  router.add_json({.id = id + "_version", .method = Method::get, .path = base + "/{name}/versions/{version}",
                   .right = Right::read, .summary = "One version.", .jobs = true},
                  [&assets, kind](Call& call) -> Result<Asset> {
                    return assets.db().read([&](db::Connection& c) {
                      return find_asset(c, kind, std::string(call.param("name")), std::string(call.param("version")));
                    });
                  });
  router.add_json({.id = id + "_label", .method = Method::get, .path = base + "/{name}/labels/{label}",
                   .right = Right::read, .summary = "The version that a label names; `latest` is the newest.", .jobs = true},
                  [&assets, kind](Call& call) -> Result<Asset> {
                    return assets.db().read([&](db::Connection& c) {
                      return find_asset_by_label(c, kind, std::string(call.param("name")), std::string(call.param("label")));
                    });
                  });
  for (const bool archive : {true, false}) {
    const std::string verb = archive ? "archive" : "restore";
    const auto handler = [&assets, kind, archive](Call& call) -> Result<void> {
      const auto version = call.param("version");
      return assets.db().write([&](db::Connection& c) {
        return set_archived(c, kind, std::string(call.param("name")),
                            version.empty() ? std::nullopt : std::optional{std::string(version)}, archive);
      });
    };
    router.add_json({.id = id + "_version_" + verb, .method = Method::post,
                     .path = base + "/{name}/versions/{version}/" + verb, .right = Right::write,
                     .summary = archive ? "Hides a version." : "Shows a hidden version again."},
                    handler);
    router.add_json({.id = id + "_" + verb, .method = Method::post, .path = base + "/{name}/" + verb, .right = Right::write,
                     .summary = archive ? "Hides all versions." : "Shows all versions again."},
                    handler);
  }
}

}  // namespace

void add_routes(http::Router& router, Assets& assets) {
  add_blob_routes(router, assets);
  router.add_json({.id = "data_create", .method = Method::post, .path = "/api/v1/data", .right = Right::write,
                   .summary = "Registers data where it lies, or as it was uploaded."},
                  [&assets](Call& call) -> Result<Asset> {
                    LATHE_TRY(const auto body, call.json_body());
                    return assets.create_data(body, call.principal, call.is_local(), is_strict(call));
                  },
                  201);
  router.add_json({.id = "environment_create", .method = Method::post, .path = "/api/v1/environments", .right = Right::write,
                   .summary = "Registers an environment."},
                  [&assets](Call& call) -> Result<Asset> {
                    LATHE_TRY(const auto body, call.json_body());
                    return assets.create_environment(body, call.principal, call.is_local(), is_strict(call));
                  },
                  201);
  add_shared_routes(router, assets, Kind::data, "/api/v1/data", "data");
  add_shared_routes(router, assets, Kind::environment, "/api/v1/environments", "environment");
}

}  // namespace lathe::assets
