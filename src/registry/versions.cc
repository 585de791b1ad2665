#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "registry/rows.h"
#include "tracking/validation.h"

namespace lathe::registry {
namespace {

constexpr std::string_view kStages[] = {"None", "Staging", "Production", "Archived"};

Error no_such_version(const std::string& name, std::int64_t version) {
  return {Code::not_found, fmt::format("Model Version (name={}, version={}) not found", printable(name), version), {}};
}

Result<void> check_exists(db::Connection& c, const std::string& name, std::int64_t version) {
  LATHE_TRY(const auto found, db::first(
                                  c, "SELECT 1 FROM model_version WHERE model = $1 AND version = $2",
                                  [](const db::Row&) { return true; }, name, version));
  if (!found) return fail(no_such_version(name, version));
  return {};
}

Result<void> touch_version(db::Connection& c, const std::string& name, std::int64_t version, Time now) {
  LATHE_TRY(const auto changed, db::run(c, "UPDATE model_version SET updated_us = $3 WHERE model = $1 AND version = $2",
                                        name, version, micros(now)));
  if (changed == 0) return fail(no_such_version(name, version));
  return {};
}

/// With its model. Descriptions and tags are not news of the model, nor are tags and aliases of the version: so MLflow.
Result<void> touch(db::Connection& c, const std::string& name, std::int64_t version, Time now) {
  LATHE_CHECK(touch_version(c, name, version, now));
  LATHE_CHECK(db::run(c, "UPDATE registered_model SET updated_us = $2 WHERE name = $1", name, micros(now)));
  return {};
}

Result<void> write_tag(db::Connection& c, const std::string& name, std::int64_t version, const Tag& tag) {
  static constexpr auto kSql = R"sql(
    INSERT INTO model_version_tag (model, version, key, value) VALUES ($1, $2, $3, $4)
        ON CONFLICT (model, version, key) DO UPDATE SET value = excluded.value)sql";
  LATHE_CHECK(check_tag(tag));
  LATHE_CHECK(db::run(c, kSql, name, version, tag.key, tag.value));
  return {};
}

Result<std::string> canonical_stage(const std::string& stage) {
  for (const auto known : kStages)
    if (to_lower(known) == to_lower(stage)) return std::string(known);
  return fail(Code::invalid,
              fmt::format("Invalid Model Version stage: {}. Value must be one of None, Staging, Production, Archived.",
                          printable(stage)));
}

Result<void> check_alias(const std::string& alias) {
  if (alias.empty()) return fail(Code::invalid, "Registered model alias name cannot be empty.");
  const bool plain = std::all_of(alias.begin(), alias.end(), [](unsigned char ch) {
    return std::isalnum(ch) != 0 || ch == '_' || ch == '-' || ch >= 0x80;
  });
  if (!plain)
    return fail(
        Code::invalid,
        fmt::format("Invalid alias name: '{}'. Names may only contain alphanumerics, underscores (_), and dashes (-).",
                    printable(alias)));
  LATHE_CHECK(tracking::check_text("alias", alias));
  return tracking::check_length("Registered model alias name", alias, 255);
}

Result<void> check_not_reserved(const std::string& alias) {
  if (to_lower(alias) == "latest") return fail(Code::invalid, "'latest' alias name (case insensitive) is reserved.");
  const bool like_a_version =
      alias.size() > 1 && (alias[0] == 'v' || alias[0] == 'V') &&
      std::all_of(alias.begin() + 1, alias.end(), [](unsigned char ch) { return std::isdigit(ch) != 0; });
  if (like_a_version) return fail(Code::invalid, fmt::format("Version alias name '{}' is reserved.", alias));
  return {};
}

Result<Version> with_details(db::Connection& c, Version version) {
  LATHE_CHECK(load_details(c, version));
  return version;
}

}  // namespace

Version read_version(const db::Row& row) {
  Version out;
  out.name = row.text(0);
  out.version = row.integer(1);
  out.source = row.text(2);
  out.artifact_uri = row.text(3);
  out.run_id = row.text(4);
  out.run_link = row.text(5);
  out.model_id = row.text(6);
  out.status = row.text(7);
  out.stage = row.text(8);
  out.description = row.text(9);
  out.archived = row.integer(10) != 0;
  out.created_by = row.text(11);
  out.created_us = row.integer(12);
  out.updated_us = row.integer(13);
  return out;
}

Result<void> load_details(db::Connection& c, Version& version) {
  LATHE_TRY(version.tags,
            db::all(
                c, "SELECT key, value FROM model_version_tag WHERE model = $1 AND version = $2 ORDER BY key",
                [](const db::Row& row) {
                  return Tag{row.text(0), row.text(1)};
                },
                version.name, version.version));
  LATHE_TRY(version.aliases, db::all(
                                 c, "SELECT alias FROM model_alias WHERE model = $1 AND version = $2 ORDER BY alias",
                                 [](const db::Row& row) { return row.text(0); }, version.name, version.version));
  return {};
}

Result<Version> create_version(db::Connection& c, const VersionSpec& spec, Time now) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO model_version (model, version, source, artifact_uri, run_id, run_link, model_id, status, stage,
                               description, archived, created_by, created_us, updated_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'READY', 'None', $8, 0, $9, $10, $10)
        ON CONFLICT (model, version) DO NOTHING)sql";
  LATHE_TRY(const bool exists, model_exists(c, spec.name));
  if (!exists && spec.create_model) LATHE_CHECK(create_model(c, spec.name, "", {}, spec.created_by, now));
  if (!exists && !spec.create_model)
    return fail(Code::not_found, fmt::format("Registered Model with name={} not found", printable(spec.name)));
  for (const auto& text : {spec.source, spec.artifact_uri, spec.run_id, spec.run_link, spec.model_id, spec.description})
    LATHE_CHECK(tracking::check_text("model version", text));

  auto version = spec.version;
  if (!version) {
    LATHE_TRY(version, db::first(
                           c, "SELECT last_version + 1 FROM registered_model WHERE name = $1",
                           [](const db::Row& row) { return row.integer(0); }, spec.name));
  }
  if (*version < 1)
    return fail(Code::invalid, fmt::format("a model's version is a whole number from 1 on, not {}", *version));
  LATHE_TRY(const auto made, db::run(c, kInsert, spec.name, *version, spec.source,
                                     spec.artifact_uri.empty() ? spec.source : spec.artifact_uri, spec.run_id,
                                     spec.run_link, spec.model_id, spec.description, spec.created_by, micros(now)));
  if (made == 0)
    return fail(Code::conflict,
                fmt::format("Model Version (name={}, version={}) already exists.", spec.name, *version));
  for (const auto& tag : spec.tags) LATHE_CHECK(write_tag(c, spec.name, *version, tag));
  static constexpr auto kModel = R"sql(
    UPDATE registered_model
       SET updated_us = $2, last_version = CASE WHEN last_version < $3 THEN $3 ELSE last_version END
     WHERE name = $1)sql";
  LATHE_CHECK(db::run(c, kModel, spec.name, micros(now), *version));
  return find_version(c, spec.name, *version);
}

Result<Version> find_version(db::Connection& c, const std::string& name, std::int64_t version) {
  static constexpr auto kSql =
      "SELECT " LATHE_VERSION_COLUMNS " FROM model_version v WHERE v.model = $1 AND v.version = $2";
  LATHE_TRY(auto found, db::first(c, kSql, read_version, name, version));
  if (!found) return fail(no_such_version(name, version));
  return with_details(c, std::move(*found));
}

Result<Version> find_version_by_alias(db::Connection& c, const std::string& name, const std::string& alias) {
  LATHE_TRY(const bool exists, model_exists(c, name));
  if (!exists) return fail(Code::not_found, fmt::format("Registered Model with name={} not found", printable(name)));
  LATHE_CHECK(check_alias(alias));
  if (to_lower(alias) == "latest") {
    static constexpr auto kLatest = "SELECT " LATHE_VERSION_COLUMNS
                                    " FROM model_version v WHERE v.model = $1 ORDER BY v.version DESC LIMIT 1";
    LATHE_TRY(auto latest, db::first(c, kLatest, read_version, name));
    if (!latest) return fail(Code::not_found, fmt::format("Latest version not found for model {}.", name));
    return with_details(c, std::move(*latest));
  }
  LATHE_TRY(const auto version, db::first(
                                    c, "SELECT version FROM model_alias WHERE model = $1 AND alias = $2",
                                    [](const db::Row& row) { return row.integer(0); }, name, alias));
  if (!version) return fail(Code::invalid, fmt::format("Registered model alias {} not found.", printable(alias)));
  return find_version(c, name, *version);
}

Result<Version> find_version_by_label(db::Connection& c, const std::string& name, const std::string& label) {
  LATHE_TRY(const bool exists, model_exists(c, name));
  if (!exists) {
    LATHE_TRY(const auto names, model_names(c));
    return fail(Code::not_found, unknown_name("model", name, names));
  }
  if (to_lower(label) != "latest") {
    auto found = find_version_by_alias(c, name, label);
    if (!found && found.error().code == Code::invalid)
      return fail(Code::not_found, fmt::format("the model \"{}\" has no label \"{}\"", name, printable(label)));
    return found;
  }
  static constexpr auto kSql =
      "SELECT " LATHE_VERSION_COLUMNS
      " FROM model_version v WHERE v.model = $1 AND v.archived = 0 ORDER BY v.version DESC LIMIT 1";
  LATHE_TRY(auto found, db::first(c, kSql, read_version, name));
  if (!found) return fail(Code::not_found, fmt::format("the model \"{}\" has no version that is not archived", name));
  return with_details(c, std::move(*found));
}

Result<std::vector<Version>> versions(db::Connection& c, const std::string& name, bool with_archived) {
  static constexpr auto kSql = "SELECT " LATHE_VERSION_COLUMNS
                               " FROM model_version v WHERE v.model = $1 AND v.archived <= $2 ORDER BY v.version DESC";
  LATHE_TRY(auto found, db::all(c, kSql, read_version, name, with_archived));
  for (auto& version : found) LATHE_CHECK(load_details(c, version));
  return found;
}

Result<void> set_archived(db::Connection& c, const std::string& name, std::int64_t version, bool archived, Time now) {
  LATHE_CHECK(touch(c, name, version, now));
  LATHE_CHECK(
      db::run(c, "UPDATE model_version SET archived = $3 WHERE model = $1 AND version = $2", name, version, archived));
  return {};
}

Result<void> describe_version(db::Connection& c, const std::string& name, std::int64_t version,
                              const std::string& description, Time now) {
  LATHE_CHECK(tracking::check_text("description", description));
  LATHE_CHECK(touch_version(c, name, version, now));
  LATHE_CHECK(db::run(c, "UPDATE model_version SET description = $3 WHERE model = $1 AND version = $2", name, version,
                      description));
  return {};
}

Result<void> delete_version(db::Connection& c, const std::string& name, std::int64_t version, Time now) {
  LATHE_CHECK(touch(c, name, version, now));
  LATHE_CHECK(db::run(c, "DELETE FROM model_version WHERE model = $1 AND version = $2", name, version));
  return {};
}

Result<void> set_version_tag(db::Connection& c, const std::string& name, std::int64_t version, const Tag& tag) {
  LATHE_CHECK(check_exists(c, name, version));
  return write_tag(c, name, version, tag);
}

Result<void> delete_version_tag(db::Connection& c, const std::string& name, std::int64_t version,
                                const std::string& key) {
  LATHE_CHECK(check_exists(c, name, version));
  LATHE_CHECK(
      db::run(c, "DELETE FROM model_version_tag WHERE model = $1 AND version = $2 AND key = $3", name, version, key));
  return {};
}

Result<void> move_to_stage(db::Connection& c, const std::string& name, std::int64_t version, const std::string& stage,
                           bool archive_others, Time now) {
  LATHE_TRY(const auto to, canonical_stage(stage));
  if (archive_others && to != "Staging" && to != "Production")
    return fail(
        Code::invalid,
        fmt::format(
            "Model version transition cannot archive existing model versions because '{}' is not an Active stage. "
            "Valid stages are Staging, Production",
            to));
  LATHE_CHECK(touch(c, name, version, now));
  if (archive_others)
    LATHE_CHECK(db::run(c,
                        "UPDATE model_version SET stage = 'Archived', updated_us = $3 WHERE model = $1 AND stage = $2 "
                        "AND version <> $4",
                        name, to, micros(now), version));
  LATHE_CHECK(db::run(c, "UPDATE model_version SET stage = $3 WHERE model = $1 AND version = $2", name, version, to));
  return {};
}

Result<std::vector<Version>> latest_versions(db::Connection& c, const std::string& name,
                                             const std::vector<std::string>& stages) {
  static constexpr auto kSql =
      "SELECT " LATHE_VERSION_COLUMNS
      " FROM model_version v WHERE v.model = $1 AND v.stage = $2 ORDER BY v.version DESC LIMIT 1";
  LATHE_CHECK(find_model(c, name));
  std::vector<std::string> wanted;
  for (const auto& stage : stages) {
    LATHE_TRY(auto known, canonical_stage(stage));
    wanted.push_back(std::move(known));
  }
  if (wanted.empty()) wanted.assign(std::begin(kStages), std::end(kStages));
  std::vector<Version> out;
  for (const auto& stage : wanted) {
    LATHE_TRY(auto found, db::first(c, kSql, read_version, name, stage));
    if (!found) continue;
    LATHE_CHECK(load_details(c, *found));
    out.push_back(std::move(*found));
  }
  return out;
}

Result<void> set_alias(db::Connection& c, const std::string& name, const std::string& alias, std::int64_t version) {
  static constexpr auto kSql = R"sql(
    INSERT INTO model_alias (model, alias, version) VALUES ($1, $2, $3)
        ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version)sql";
  LATHE_CHECK(check_alias(alias));
  LATHE_CHECK(check_not_reserved(alias));
  LATHE_CHECK(check_exists(c, name, version));
  LATHE_CHECK(db::run(c, kSql, name, alias, version));
  return {};
}

Result<void> delete_alias(db::Connection& c, const std::string& name, const std::string& alias) {
  LATHE_CHECK(check_alias(alias));
  LATHE_CHECK(find_model(c, name));
  LATHE_CHECK(db::run(c, "DELETE FROM model_alias WHERE model = $1 AND alias = $2", name, alias));
  return {};
}

}  // namespace lathe::registry
