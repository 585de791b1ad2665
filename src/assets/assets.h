#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assets/asset.h"
#include "assets/blobs.h"
#include "assets/digest_cache.h"
#include "assets/reference.h"
#include "assets/scan.h"
#include "db/db.h"
#include "http/http.h"
#include "json/report.h"

/// Data, environments and code snapshots: what jobs and deployments are made from.
namespace lathe::assets {

/// What a reference leads to, right now.
struct Resolved {
  std::string type;                    ///< uri_file, uri_folder, mltable
  std::filesystem::path local;         ///< where it lies on this machine; empty for a URL
  std::string url;                     ///< http(s): fetched by the job, never by the server
  std::optional<std::string> digest;   ///< of what lies there now; absent for a URL
  std::optional<std::int64_t> size_bytes;
  std::optional<std::int64_t> files;
  std::string name;                    ///< of the asset, or empty
  std::string version;
  /// In the data folder, where a job's own account cannot look: hand it over by a link, a bind or a copy.
  bool private_to_server = false;
  std::string note;  ///< for people: "changed since it was registered"
};

/// An environment that a job asks for; src/environments says how it is honoured.
struct EnvironmentUse {
  std::string name;     ///< empty for one that is written into the job
  std::string version;
  std::string digest;   ///< of the definition, canonical JSON; of the default environment when nothing was asked for
  json::Value definition;
  json::Report report;  ///< fields begin with "environment": what could not be found stands back for the default one
};

/// The environment of jobs that ask for none.
constexpr std::string_view kDefaultEnvironment = "lathe-default";
/// The system's Python by its versioned name, "python3.11".
std::string system_python();
/// "the default environment (/usr/bin/python3.11)"
std::string default_environment();

class Assets {
 public:
  /// Reads and writes below `data`, opened before. Thread-safe; all functions block.
  static Result<std::unique_ptr<Assets>> open(db::Database& db, const std::filesystem::path& data);

  const BlobStore& blobs() const { return *blobs_; }
  DigestCache& digests() { return *digests_; }
  const std::filesystem::path& data_folder() const { return data_; }

  /// `local`: the caller sits on this machine, so that an absolute path may mean the same to both.
  Result<Asset> create_data(const json::Object& document, const http::Principal& who, bool local, bool strict);
  Result<Asset> create_environment(const json::Object& document, const http::Principal& who, bool local, bool strict);

  /// Where a reference leads. `wanted_type` (may be empty) is what the job's file says about it.
  /// Errors: `not_found`, `invalid`, `forbidden` — a path of this machine that `who` may not name.
  Result<Resolved> resolve(const std::string& reference, const std::string& wanted_type, const http::Principal& who,
                           bool local);

  /// As `resolve`, for what is not a registered asset's name.
  Result<Resolved> resolve_content(const Reference& reference, const http::Principal& who, bool local);

  /// `value` as in a job's file: a reference, a definition in place, or null for none.
  Result<EnvironmentUse> resolve_environment(const json::Value& value, const http::Principal& who, bool local);

  /// Keeps what a folder of this machine holds now, but for what its ignore file names. Answers its tree's digest.
  /// Errors: as `allowed_path`; `invalid` — it is relative, or no folder.
  Result<std::string> keep_folder(const std::string& folder, const http::Principal& who, bool local);

  /// The folder or file behind azureml://datastores/STORE/paths/PATH; it need not exist. Errors: `not_found` — no such
  /// store; `invalid` — a path that leads outside.
  Result<std::filesystem::path> datastore_path(const std::string& store, const std::string& path) const;

  /// Who may name a path of this machine: an administrator anything outside the data folder, others what everybody may
  /// read. Answers the real path. Errors: `forbidden`, `not_found`, `invalid`.
  Result<std::filesystem::path> allowed_path(const std::string& path, const http::Principal& who, bool local) const;

  /// What will not be as an environment's definition says; its fields as in the definition. Set before requests come.
  std::function<Result<json::Report>(const json::Object& definition)> explain_environment;
  /// Whether images are built here: then an environment's build folder is kept with it. Set before requests come.
  bool keeps_build_folders = false;

  db::Database& db() { return db_; }

 private:
  Assets(db::Database& db, std::filesystem::path data) : db_(db), data_(std::move(data)) {}
  Result<Resolved> resolve_asset(Asset asset, const http::Principal& who);
  Result<void> keep_build_folder(json::Object& definition, const http::Principal& who, bool local);

  db::Database& db_;
  std::filesystem::path data_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<DigestCache> digests_;
};

/// Keys in order, at every depth: the same text for the same value.
std::string canonical_json(const json::Value& value);

/// Texts, numbers and booleans as texts, as YAML's tags are. Errors: `invalid`, naming the tag.
Result<std::map<std::string, std::string>> read_tags(const json::Object& document);

/// The fields that are in `document` but in neither list: `invalid`; those in `ignored` are put into the report.
struct IgnoredField {
  std::string_view name;
  std::string_view why;
};
Result<void> check_fields(const json::Object& document, const std::vector<std::string>& known,
                          const std::vector<IgnoredField>& ignored, json::Report& report);

/// Blobs, trees, data and environments.
void add_routes(http::Router& router, Assets& assets);

}  // namespace lathe::assets
