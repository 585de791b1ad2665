#include <fmt/format.h>

#include "tracking/tracking.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

constexpr std::string_view kById =
    "SELECT id, name, artifact_location, stage, created_by, created_us, updated_us FROM experiment "
    "WHERE id = $1 AND stage <> 'removing'";
constexpr std::string_view kByName =
    "SELECT id, name, artifact_location, stage, created_by, created_us, updated_us FROM experiment "
    "WHERE name = $1 AND stage <> 'removing'";

Experiment read_experiment(const db::Row& row) {
  Experiment out;
  out.id = row.integer(0);
  out.name = row.text(1);
  out.artifact_location = row.text(2);
  out.stage = row.text_view(3) == "active" ? Stage::active : Stage::deleted;
  out.created_by = row.text(4);
  out.created_us = row.integer(5);
  out.updated_us = row.integer(6);
  return out;
}

Error no_such_experiment(std::int64_t id) {
  return {Code::not_found, fmt::format("No Experiment with id={} exists", id), {}};
}

Result<void> check_active(const Experiment& experiment) {
  if (experiment.stage == Stage::active) return {};
  return fail(Code::invalid,
              fmt::format("The experiment {} must be in the 'active' state. Current state is deleted.", experiment.id));
}

Result<void> check_tag(const Tag& tag) {
  LATHE_CHECK(check_key("tag", tag.key));
  LATHE_CHECK(check_text("tag", tag.value));
  return check_length("value", tag.value, kExperimentTagValueLimit);
}

Result<void> write_tag(db::Connection& c, std::int64_t id, const Tag& tag) {
  static constexpr auto kSql = R"sql(
    INSERT INTO experiment_tag (experiment_id, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value)sql";
  LATHE_CHECK(check_tag(tag));
  LATHE_CHECK(db::run(c, kSql, id, tag.key, tag.value));
  return {};
}

Result<void> touch(db::Connection& c, std::int64_t id, Time now) {
  LATHE_CHECK(db::run(c, "UPDATE experiment SET updated_us = $2 WHERE id = $1", id, micros(now)));
  return {};
}

}  // namespace

std::string_view stage_name(Stage stage) {
  return stage == Stage::active ? "active" : "deleted";
}

Result<void> date_default_experiment(db::Connection& c, Time now) {
  LATHE_CHECK(db::run(c, "UPDATE experiment SET created_us = $2, updated_us = $2 WHERE id = $1", kDefaultExperiment,
                      micros(now)));
  return {};
}

Result<std::int64_t> create_experiment(db::Connection& c, const std::string& name, const std::string& artifact_location,
                                       const std::vector<Tag>& tags, const std::string& created_by, Time now) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO experiment (id, name, artifact_location, stage, created_by, created_us, updated_us)
    VALUES ($1, $2, $3, 'active', $4, $5, $5))sql";
  LATHE_CHECK(check_experiment_name(name));
  LATHE_TRY(const auto taken, find_experiment_by_name(c, name));
  if (taken && taken->stage == Stage::deleted)
    return fail(Code::conflict,
                fmt::format("Experiment(name={}) already exists. It is in deleted state: restore it, or delete it "
                            "permanently before creating a new one with the same name.",
                            name));
  if (taken) return fail(Code::conflict, fmt::format("Experiment(name={}) already exists.", name));
  LATHE_TRY(const auto id, db::first(c, "UPDATE last_experiment SET id = id + 1 RETURNING id",
                                     [](const db::Row& row) { return row.integer(0); }));
  const auto location = artifact_location.empty() ? fmt::format("mlflow-artifacts:/{}", *id) : artifact_location;
  LATHE_CHECK(db::run(c, kInsert, *id, name, location, created_by, micros(now)));
  for (const auto& tag : tags) LATHE_CHECK(write_tag(c, *id, tag));
  return *id;
}

Result<std::int64_t> get_or_create_experiment(db::Connection& c, const std::string& name, const std::string& created_by,
                                              Time now) {
  LATHE_TRY(const auto found, find_experiment_by_name(c, name));
  if (!found) return create_experiment(c, name, "", {}, created_by, now);
  if (found->stage == Stage::deleted)
    return fail(Code::conflict, fmt::format("the experiment \"{}\" is deleted: restore it, or use another name", name));
  return found->id;
}

Result<Experiment> find_experiment(db::Connection& c, std::int64_t id) {
  LATHE_TRY(auto found, db::first(c, kById, read_experiment, id));
  if (!found) return fail(no_such_experiment(id));
  return std::move(*found);
}

Result<std::optional<Experiment>> find_experiment_by_name(db::Connection& c, const std::string& name) {
  return db::first(c, kByName, read_experiment, name);
}

Result<std::vector<Tag>> experiment_tags(db::Connection& c, std::int64_t id) {
  return db::all(
      c, "SELECT key, value FROM experiment_tag WHERE experiment_id = $1 ORDER BY key",
      [](const db::Row& row) {
        return Tag{row.text(0), row.text(1)};
      },
      id);
}

Result<void> rename_experiment(db::Connection& c, std::int64_t id, const std::string& name, Time now) {
  LATHE_CHECK(check_experiment_name(name));
  LATHE_TRY(const auto experiment, find_experiment(c, id));
  if (experiment.stage != Stage::active)
    return fail(Error{Code::invalid, "Cannot rename a non-active experiment.", "INVALID_STATE"});
  LATHE_TRY(const auto taken, find_experiment_by_name(c, name));
  if (taken && taken->id != id) return fail(Code::conflict, fmt::format("Experiment(name={}) already exists.", name));
  LATHE_CHECK(db::run(c, "UPDATE experiment SET name = $2, updated_us = $3 WHERE id = $1", id, name, micros(now)));
  return {};
}

Result<void> delete_experiment(db::Connection& c, std::int64_t id, Time now) {
  LATHE_TRY(const auto experiment, find_experiment(c, id));
  if (experiment.stage != Stage::active) return fail(no_such_experiment(id));
  LATHE_CHECK(check_no_job_runs(c, id));
  LATHE_CHECK(db::run(c, "UPDATE experiment SET stage = 'deleted', updated_us = $2 WHERE id = $1", id, micros(now)));
  LATHE_CHECK(db::run(c,
                      "UPDATE run SET stage = 'deleted', deleted_us = $2 WHERE experiment_id = $1 AND stage = 'active'",
                      id, micros(now)));
  return {};
}

Result<void> check_no_job_runs(db::Connection& c, std::int64_t id) {
  static constexpr auto kSql = R"sql(
    SELECT id FROM run WHERE experiment_id = $1 AND stage = 'active' AND job = 1 AND status IN ('RUNNING', 'SCHEDULED')
     ORDER BY number LIMIT 1)sql";
  LATHE_TRY(const auto busy, db::first(
                                 c, kSql, [](const db::Row& row) { return row.text(0); }, id));
  if (!busy) return {};
  return fail(Code::conflict,
              fmt::format("the job {} of this experiment has not ended: cancel it, or wait for its end, "
                          "before the experiment is deleted",
                          *busy));
}

Result<void> restore_experiment(db::Connection& c, std::int64_t id, Time now) {
  LATHE_TRY(const auto experiment, find_experiment(c, id));
  if (experiment.stage == Stage::active) return fail(no_such_experiment(id));  // among the deleted
  // Only what went with the experiment comes back with it: runs deleted before stay deleted.
  static constexpr auto kRuns = R"sql(
    UPDATE run SET stage = 'active', deleted_us = NULL
     WHERE experiment_id = $1 AND stage = 'deleted'
       AND deleted_us = (SELECT updated_us FROM experiment WHERE id = $1))sql";
  LATHE_CHECK(db::run(c, kRuns, id));
  LATHE_CHECK(db::run(c, "UPDATE experiment SET stage = 'active', updated_us = $2 WHERE id = $1", id, micros(now)));
  return {};
}

Result<void> set_experiment_tag(db::Connection& c, std::int64_t id, const Tag& tag, Time now) {
  LATHE_TRY(const auto experiment, find_experiment(c, id));
  LATHE_CHECK(check_active(experiment));
  LATHE_CHECK(write_tag(c, id, tag));
  return touch(c, id, now);
}

Result<void> delete_experiment_tag(db::Connection& c, std::int64_t id, const std::string& key, Time now) {
  LATHE_TRY(const auto experiment, find_experiment(c, id));
  LATHE_CHECK(check_active(experiment));
  LATHE_TRY(const auto gone, db::run(c, "DELETE FROM experiment_tag WHERE experiment_id = $1 AND key = $2", id, key));
  if (gone == 0) return fail(Code::not_found, fmt::format("No tag with name: {} in experiment with id {}", key, id));
  return touch(c, id, now);
}

}  // namespace lathe::tracking
