#include "assets/asset.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "base/time.h"

namespace lathe::assets {
namespace {

#define LATHE_ASSET_COLUMNS                                                                                  \
  "name, version, type, path, digest, size_bytes, files, definition, description, tags, archived, created_by, " \
  "created_us"

Asset read_asset(const db::Row& row) {
  Asset asset;
  asset.name = row.text(0);
  asset.version = row.text(1);
  asset.type = row.text(2);
  asset.path = row.text(3);
  asset.digest = row.optional_text(4);
  asset.size_bytes = row.optional_integer(5);
  asset.files = row.optional_integer(6);
  if (const auto text = row.text(7); !text.empty())
    if (auto value = json::parse(text)) asset.definition = std::move(*value);
  asset.description = row.text(8);
  if (auto value = json::parse(row.text_view(9)))
    if (auto tags = json::from_json<std::map<std::string, std::string>>(*value)) asset.tags = std::move(*tags);
  asset.archived = row.integer(10) != 0;
  asset.creation_context = {row.text(11), to_iso8601(from_micros(row.integer(12)))};
  return asset;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.'; }

Result<void> check_word(const std::string& field, const std::string& text, std::size_t most) {
  if (!text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), is_word) &&
      (std::isalnum(static_cast<unsigned char>(text.front())) != 0 || text.front() == '_'))
    return {};
  return fail(Code::invalid, field + ": must be 1 to " + std::to_string(most) +
                                 " letters, digits, '_', '-' and '.', beginning with a letter or digit, not \"" +
                                 printable(text) + "\"");
}

bool same_content(const Asset& a, const Asset& b) {
  return a.type == b.type && a.path == b.path && a.digest == b.digest;
}

/// The same bytes under another path are the same content too, unless the digest is not known.
bool interchangeable(const Asset& a, const Asset& b) {
  return same_content(a, b) || (a.type == b.type && a.digest && a.digest == b.digest);
}

Result<std::vector<std::string>> names(db::Connection& c, Kind kind) {
  return db::all(c, "SELECT DISTINCT name FROM asset WHERE kind = $1 ORDER BY name",
                 [](const db::Row& row) { return row.text(0); }, kind_name(kind));
}

Result<std::int64_t> next_version(db::Connection& c, Kind kind, const std::string& name) {
  std::int64_t highest = 0;
  const auto take = [&](const db::Row& row) {
    const auto text = row.text_view(0);
    if (text.size() > 18 || !std::all_of(text.begin(), text.end(), [](char d) { return d >= '0' && d <= '9'; })) return;
    highest = std::max<std::int64_t>(highest, std::stoll(std::string(text)));
  };
  LATHE_CHECK(db::each(c, "SELECT version FROM asset WHERE kind = $1 AND name = $2", take, kind_name(kind), name));
  return highest + 1;
}

}  // namespace

std::string_view kind_name(Kind kind) { return kind == Kind::data ? "data" : "environment"; }

Result<void> check_name(const std::string& name) { return check_word("name", name, 255); }

Result<void> check_version(const std::string& version) { return check_word("version", version, 64); }

Result<Asset> insert_asset(db::Connection& c, Kind kind, Asset asset) {
  static constexpr auto kNext = "SELECT coalesce(max(number), 0) + 1 FROM asset WHERE kind = $1 AND name = $2";
  static constexpr auto kInsert = R"sql(
    INSERT INTO asset (kind, name, version, number, type, path, digest, size_bytes, files, definition, description, tags,
                       archived, created_by, created_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14))sql";
  if (asset.version.empty()) {
    LATHE_TRY(const auto next, next_version(c, kind, asset.name));
    asset.version = std::to_string(next);
  } else if (auto existing = find_asset(c, kind, asset.name, asset.version)) {
    if (interchangeable(*existing, asset)) return existing;
    return fail(Code::conflict, "version: " + std::string(kind_name(kind)) + " \"" + asset.name + ":" + asset.version +
                                    "\" exists with other content, and versions never change: leave the version out to "
                                    "get the next one");
  }
  LATHE_TRY(const auto number, db::first(c, kNext, [](const db::Row& row) { return row.integer(0); }, kind_name(kind),
                                         asset.name));
  const auto time = now();
  asset.creation_context.created_at = to_iso8601(time);
  LATHE_CHECK(db::run(c, kInsert, kind_name(kind), asset.name, asset.version, number.value_or(1), asset.type, asset.path,
                      asset.digest, asset.size_bytes, asset.files,
                      asset.definition ? json::print(*asset.definition) : std::string{}, asset.description,
                      json::print(json::to_json(asset.tags)), asset.creation_context.created_by, micros(time)));
  return asset;
}

Result<Asset> find_asset(db::Connection& c, Kind kind, const std::string& name, const std::string& version) {
  static constexpr auto kSql =
      "SELECT " LATHE_ASSET_COLUMNS " FROM asset WHERE kind = $1 AND name = $2 AND version = $3";
  LATHE_TRY(auto found, db::first(c, kSql, read_asset, kind_name(kind), name, version));
  if (found) return std::move(*found);
  LATHE_TRY(const auto all, asset_versions(c, kind, name, true));
  if (all.empty()) {
    LATHE_TRY(const auto existing, names(c, kind));
    return fail(Code::not_found, unknown_name(kind_name(kind), name, existing));
  }
  std::string there;
  for (std::size_t i = 0; i < all.size() && i < 5; ++i) there += (i == 0 ? "" : ", ") + all[i].version;
  return fail(Code::not_found, std::string(kind_name(kind)) + " \"" + name + "\" has no version \"" + version +
                                   "\"; it has " + there + (all.size() > 5 ? ", ..." : ""));
}

Result<Asset> find_asset_by_label(db::Connection& c, Kind kind, const std::string& name, const std::string& label) {
  if (label != "latest")
    return fail(Code::not_found, std::string(kind_name(kind)) + " \"" + name + "\" has no label \"" + label +
                                     "\"; there is \"latest\"");
  LATHE_TRY(auto all, asset_versions(c, kind, name, false));
  if (!all.empty()) return std::move(all.front());
  LATHE_TRY(const auto archived, asset_versions(c, kind, name, true));
  if (!archived.empty())
    return fail(Code::not_found, "all versions of " + std::string(kind_name(kind)) + " \"" + name + "\" are archived");
  LATHE_TRY(const auto existing, names(c, kind));
  return fail(Code::not_found, unknown_name(kind_name(kind), name, existing));
}

Result<std::vector<Asset>> asset_versions(db::Connection& c, Kind kind, const std::string& name, bool with_archived) {
  static constexpr auto kSql = "SELECT " LATHE_ASSET_COLUMNS
                               " FROM asset WHERE kind = $1 AND name = $2 AND archived <= $3 ORDER BY number DESC";
  return db::all(c, kSql, read_asset, kind_name(kind), name, with_archived);
}

Result<std::vector<Asset>> list_assets(db::Connection& c, Kind kind, bool with_archived) {
  static constexpr auto kSql = "SELECT " LATHE_ASSET_COLUMNS R"sql(
      FROM asset a
     WHERE kind = $1 AND archived <= $2
       AND number = (SELECT max(b.number) FROM asset b WHERE b.kind = $1 AND b.name = a.name AND b.archived <= $2)
     ORDER BY name)sql";
  return db::all(c, kSql, read_asset, kind_name(kind), with_archived);
}

Result<void> set_archived(db::Connection& c, Kind kind, const std::string& name, const std::optional<std::string>& version,
                          bool archived) {
  if (version) {
    LATHE_CHECK(find_asset(c, kind, name, *version));
    LATHE_CHECK(db::run(c, "UPDATE asset SET archived = $4 WHERE kind = $1 AND name = $2 AND version = $3",
                        kind_name(kind), name, *version, archived));
    return {};
  }
  LATHE_TRY(const auto changed, db::run(c, "UPDATE asset SET archived = $3 WHERE kind = $1 AND name = $2",
                                        kind_name(kind), name, archived));
  if (changed > 0) return {};
  LATHE_TRY(const auto existing, names(c, kind));
  return fail(Code::not_found, unknown_name(kind_name(kind), name, existing));
}

}  // namespace lathe::assets
