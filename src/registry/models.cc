#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "registry/rows.h"
#include "tracking/validation.h"

namespace lathe::registry {
namespace {

constexpr std::size_t kTagValueLimit = 100'000;

Error no_such_model(const std::string& name) {
  return {Code::not_found, fmt::format("Registered Model with name={} not found", printable(name)), {}};
}

Result<void> check_name(const std::string& name) {
  if (name.empty()) return fail(Code::invalid, "Registered model name cannot be empty.");
  LATHE_CHECK(tracking::check_text("registered model name", name));
  const bool bad_characters = std::any_of(name.begin(), name.end(), [](unsigned char c) {
    return c == '/' || c == ':' || c < 0x20 || c == 0x7f;
  });
  if (bad_characters || tracking::normal_path(name) != name || name == "." || name == "..")
    return fail(Code::invalid, fmt::format("Invalid model name: '{}'. Names must not hold slashes, colons or control "
                                           "characters, and must not be '.' or '..'",
                                           printable(name)));
  return tracking::check_length("name", name, 256);
}

Result<void> touch(db::Connection& c, const std::string& name, Time now) {
  LATHE_TRY(const auto changed,
            db::run(c, "UPDATE registered_model SET updated_us = $2 WHERE name = $1", name, micros(now)));
  if (changed == 0) return fail(no_such_model(name));
  return {};
}

Result<void> write_tag(db::Connection& c, const std::string& name, const Tag& tag) {
  static constexpr auto kSql = R"sql(
    INSERT INTO registered_model_tag (model, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (model, key) DO UPDATE SET value = excluded.value)sql";
  LATHE_CHECK(check_tag(tag));
  LATHE_CHECK(db::run(c, kSql, name, tag.key, tag.value));
  return {};
}

bool is_prompt(const std::vector<Tag>& tags) {
  return std::any_of(tags.begin(), tags.end(), [](const Tag& tag) { return tag.key == kIsPrompt; });
}

Error already_taken(const std::string& name, bool taken_by_prompt, bool asked_by_prompt) {
  if (taken_by_prompt == asked_by_prompt)
    return {Code::conflict,
            fmt::format("{} (name={}) already exists.", asked_by_prompt ? "Prompt" : "Registered Model", name),
            {}};
  const auto kind = [](bool prompt) { return prompt ? "prompt" : "registered model"; };
  return {Code::conflict,
          fmt::format("Tried to create a {} with name '{}', but the name is already taken by a {}. MLflow does not "
                      "allow creating a model and a prompt with the same name.",
                      kind(asked_by_prompt), name, kind(taken_by_prompt)),
          {}};
}

}  // namespace

Result<void> check_tag(const Tag& tag) {
  LATHE_CHECK(tracking::check_key("tag", tag.key));
  LATHE_CHECK(tracking::check_text("tag", tag.value));
  if (tag.key == "mlflow.prompt.text" && tracking::count_characters(tag.value) > kTagValueLimit)
    return fail(Code::invalid, fmt::format("Prompt text exceeds max length of {} characters.", kTagValueLimit));
  return tracking::check_length("value", tag.value, kTagValueLimit);
}

Model read_model(const db::Row& row) {
  return {row.text(0), row.text(1), row.text(2), row.integer(3), row.integer(4), {}, {}};
}

Result<void> load_details(db::Connection& c, Model& model) {
  LATHE_TRY(model.tags, db::all(
                            c, "SELECT key, value FROM registered_model_tag WHERE model = $1 ORDER BY key",
                            [](const db::Row& row) {
                              return Tag{row.text(0), row.text(1)};
                            },
                            model.name));
  LATHE_TRY(model.aliases, db::all(
                               c, "SELECT alias, version FROM model_alias WHERE model = $1 ORDER BY alias",
                               [](const db::Row& row) {
                                 return Alias{row.text(0), row.integer(1)};
                               },
                               model.name));
  return {};
}

Result<void> create_model(db::Connection& c, const std::string& name, const std::string& description,
                          const std::vector<Tag>& tags, const std::string& created_by, Time now) {
  static constexpr auto kSql = R"sql(
    INSERT INTO registered_model (name, description, last_version, created_by, created_us, updated_us)
    VALUES ($1, $2, 0, $3, $4, $4)
        ON CONFLICT (name) DO NOTHING)sql";
  LATHE_CHECK(check_name(name));
  LATHE_CHECK(tracking::check_text("description", description));
  LATHE_TRY(const auto made, db::run(c, kSql, name, description, created_by, micros(now)));
  if (made == 0) {
    LATHE_TRY(const auto taken, find_model(c, name));
    return fail(already_taken(name, is_prompt(taken.tags), is_prompt(tags)));
  }
  for (const auto& tag : tags) LATHE_CHECK(write_tag(c, name, tag));
  return {};
}

Result<Model> find_model(db::Connection& c, const std::string& name) {
  static constexpr auto kSql = "SELECT " LATHE_MODEL_COLUMNS " FROM registered_model m WHERE m.name = $1";
  LATHE_TRY(auto found, db::first(c, kSql, read_model, name));
  if (!found) return fail(no_such_model(name));
  LATHE_CHECK(load_details(c, *found));
  return std::move(*found);
}

Result<bool> model_exists(db::Connection& c, const std::string& name) {
  LATHE_TRY(const auto found,
            db::first(
                c, "SELECT 1 FROM registered_model WHERE name = $1", [](const db::Row&) { return true; }, name));
  return found.has_value();
}

Result<std::vector<std::string>> model_names(db::Connection& c) {
  return db::all(c, "SELECT name FROM registered_model ORDER BY name", [](const db::Row& row) { return row.text(0); });
}

Result<void> describe_model(db::Connection& c, const std::string& name, const std::string& description, Time now) {
  LATHE_CHECK(tracking::check_text("description", description));
  LATHE_CHECK(touch(c, name, now));
  LATHE_CHECK(db::run(c, "UPDATE registered_model SET description = $2 WHERE name = $1", name, description));
  return {};
}

Result<void> rename_model(db::Connection& c, const std::string& name, const std::string& new_name, Time now) {
  LATHE_CHECK(check_name(new_name));
  LATHE_CHECK(touch(c, name, now));
  if (new_name == name) return {};
  LATHE_TRY(const bool taken, model_exists(c, new_name));
  if (taken) return fail(Code::conflict, fmt::format("Registered Model (name={}) already exists.", new_name));
  LATHE_CHECK(db::run(c, "UPDATE registered_model SET name = $2 WHERE name = $1", name, new_name));
  return {};
}

Result<void> delete_model(db::Connection& c, const std::string& name) {
  LATHE_TRY(const auto gone, db::run(c, "DELETE FROM registered_model WHERE name = $1", name));
  if (gone == 0) return fail(no_such_model(name));
  return {};
}

Result<void> set_model_tag(db::Connection& c, const std::string& name, const Tag& tag) {
  LATHE_TRY(const bool exists, model_exists(c, name));
  if (!exists) return fail(no_such_model(name));
  return write_tag(c, name, tag);
}

Result<void> delete_model_tag(db::Connection& c, const std::string& name, const std::string& key) {
  LATHE_TRY(const bool exists, model_exists(c, name));
  if (!exists) return fail(no_such_model(name));
  LATHE_CHECK(db::run(c, "DELETE FROM registered_model_tag WHERE model = $1 AND key = $2", name, key));
  return {};
}

}  // namespace lathe::registry
