#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "db/db.h"
#include "json/report.h"

/// Versioned data and environments as the store keeps them. Functions over a connection; those that change something
/// belong on the writer.
namespace lathe::assets {

enum class Kind : std::uint8_t { data, environment };
/// "data", "environment"
std::string_view kind_name(Kind kind);

struct CreationContext {
  std::string created_by;
  std::string created_at;
};

struct Asset {
  std::string name;
  std::string version;
  std::string type;  ///< uri_file, uri_folder, mltable; environments: image, build, conda, default
  std::string path;  ///< data: where it is
  std::optional<std::string> digest;
  std::optional<std::int64_t> size_bytes;
  std::optional<std::int64_t> files;
  std::optional<json::Value> definition;  ///< environments
  std::string description;
  std::map<std::string, std::string> tags;
  bool archived = false;
  CreationContext creation_context;
  std::optional<json::Report> report;  ///< in the answer to creating it
};

/// Errors: `invalid` — not a name or version that Azure would take: letters, digits, '_', '-', '.'.
Result<void> check_name(const std::string& name);
Result<void> check_version(const std::string& version);

/// Keeps a version; with an empty `version` it gets the next number. A version that exists is answered when it has the
/// same content. Errors: `conflict` — it has other content.
Result<Asset> insert_asset(db::Connection& c, Kind kind, Asset asset);
/// Errors: `not_found`, naming what there is.
Result<Asset> find_asset(db::Connection& c, Kind kind, const std::string& name, const std::string& version);
/// "latest": the newest that is not archived. Errors: `not_found`.
Result<Asset> find_asset_by_label(db::Connection& c, Kind kind, const std::string& name, const std::string& label);
/// Newest first; empty when there is no such name.
Result<std::vector<Asset>> asset_versions(db::Connection& c, Kind kind, const std::string& name, bool with_archived);
/// The newest version of each name that has one to show, in the order of names.
Result<std::vector<Asset>> list_assets(db::Connection& c, Kind kind, bool with_archived);
/// One version, or with nullopt all of them. Errors: `not_found`.
Result<void> set_archived(db::Connection& c, Kind kind, const std::string& name, const std::optional<std::string>& version,
                          bool archived);

}  // namespace lathe::assets

namespace lathe::json {

template <>
struct Fields<assets::CreationContext> {
  static constexpr std::string_view name = "CreationContext";
  static constexpr auto list = std::tuple{field("created_by", &assets::CreationContext::created_by, "user name"),
                                          field("created_at", &assets::CreationContext::created_at, "ISO 8601, UTC")};
};

template <>
struct Fields<assets::Asset> {
  static constexpr std::string_view name = "Asset";
  static constexpr auto list = std::tuple{
      field("name", &assets::Asset::name),
      field("version", &assets::Asset::version),
      field("type", &assets::Asset::type, "uri_file, uri_folder or mltable; image, build, conda or default"),
      field("path", &assets::Asset::path, "of data: where it is"),
      field("digest", &assets::Asset::digest, "SHA-256 of the file, the folder's list or the definition; absent: not known"),
      field("size_bytes", &assets::Asset::size_bytes),
      field("files", &assets::Asset::files, "number of files"),
      field("definition", &assets::Asset::definition, "of an environment: what was asked for"),
      field("description", &assets::Asset::description),
      field("tags", &assets::Asset::tags),
      field("archived", &assets::Asset::archived),
      field("creation_context", &assets::Asset::creation_context),
      field("report", &assets::Asset::report, "what was not plainly honoured")};
};

}  // namespace lathe::json
