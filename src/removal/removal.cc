#include "removal/removal.h"

#include <fmt/format.h>

#include "auth/auth.h"
#include "base/ids.h"
#include "base/text.h"
#include "json/json.h"
#include "registry/registry.h"
#include "tracking/lineage.h"

namespace lathe::removal {
namespace {

constexpr std::string_view kArtifacts = "mlflow-artifacts:/";
constexpr std::size_t kMostNamed = 5;

Removal read_removal(const db::Row& row) {
  return {row.text(0), row.text(1), row.text(2), row.text(3), row.integer(4)};
}

Result<void> check_may_remove(const http::Principal& who, const std::string& what, const std::string& made_by) {
  if (who.is_administrator() || (!who.run && who.user == made_by)) return {};
  return fail(Code::forbidden, fmt::format("{} was made by {}: only {} or an administrator deletes it permanently",
                                           what, made_by, made_by));
}

/// The versions whose files lie at `uri` or below it, as "churn:3".
Result<std::vector<std::string>> versions_at(db::Connection& c, const std::string& uri) {
  static constexpr auto kSql = R"sql(
    SELECT model, version FROM model_version
     WHERE artifact_uri = $1 OR substr(artifact_uri, 1, length($2)) = $2 ORDER BY model, version)sql";
  return db::all(
      c, kSql, [](const db::Row& row) { return fmt::format("{}:{}", row.text(0), row.integer(1)); }, uri, uri + "/");
}

Error needed_by(const std::string& what, const std::vector<std::string>& users, std::string_view how) {
  std::string names;
  for (std::size_t i = 0; i < users.size() && i < kMostNamed; ++i) names += (i == 0 ? "" : ", ") + users[i];
  if (users.size() > kMostNamed) names += fmt::format(" and {} more", users.size() - kMostNamed);
  return {Code::conflict, fmt::format("{} holds the files of {}: {}", what, names, how), {}};
}

Result<void> check_no_version(db::Connection& c, const std::string& what, const std::string& uri) {
  LATHE_TRY(const auto users, versions_at(c, uri));
  if (users.empty()) return {};
  return fail(needed_by(what, users, "delete these model versions first (`lathe model delete`)"));
}

/// Data assets that are what a job left in its folder.
Result<void> check_no_asset(db::Connection& c, const tracking::RunInfo& run) {
  static constexpr auto kSql = R"sql(
    SELECT name, version FROM asset WHERE kind = 'data' AND archived = 0 AND substr(path, 1, length($1)) = $1
     ORDER BY name, version)sql";
  if (!run.job) return {};
  LATHE_TRY(const auto users, db::all(
                                  c, kSql, [](const db::Row& row) { return row.text(0) + ":" + row.text(1); },
                                  "azureml://jobs/" + run.run_id + "/"));
  if (users.empty()) return {};
  return fail(needed_by("the job " + run.run_id, users, "archive these data assets first (`lathe data archive`)"));
}

Result<Removal> mark(db::Connection& c, Removal removal, Time now) {
  removal.asked_us = micros(now);
  LATHE_CHECK(db::run(c,
                      "INSERT INTO removal (kind, id, name, asked_by, asked_us) VALUES ($1, $2, $3, $4, $5) "
                      "ON CONFLICT (kind, id) DO NOTHING",
                      removal.kind, removal.id, removal.name, removal.asked_by, removal.asked_us));
  LATHE_CHECK(auth::note(c, removal.asked_by, removal.kind + "_remove", removal.id));
  return removal;
}

/// "0/models/m-..." of a version whose files Lathe laid out for it alone; else empty.
Result<std::string> own_files(db::Connection& c, const registry::Version& version) {
  constexpr std::string_view kEnd = "/artifacts";
  auto path = version.artifact_uri;
  if (!path.starts_with(kArtifacts) || !path.ends_with(kEnd)) return std::string();
  path = path.substr(kArtifacts.size(), path.size() - kArtifacts.size() - kEnd.size());
  const auto parts = split(path, '/');
  if (parts.size() != 3 || parts[0] != "0" || parts[1] != "models") return std::string();
  LATHE_TRY(const auto logged,
            db::first(
                c, "SELECT 1 FROM logged_model WHERE id = $1", [](const db::Row&) { return true; }, parts[2]));
  if (logged) return std::string();
  LATHE_TRY(const auto users, versions_at(c, version.artifact_uri));
  return users.size() == 1 ? path : std::string();
}

Result<void> check_not_served(db::Connection& c, const registry::Version& version) {
  std::string user;
  LATHE_CHECK(db::each(c, "SELECT endpoint, name, spec, previous FROM deployment", [&](const db::Row& row) {
    for (const int column : {2, 3}) {
      const auto spec = json::parse_object(row.text_view(column));
      if (!spec) continue;
      const auto name = json::get_string(*spec, "model_name");
      const auto number = json::get_string(*spec, "model_version");
      if (name && number && *name == version.name && *number == std::to_string(version.version))
        user = fmt::format("{} of the endpoint {}", row.text(1), row.text(0));
    }
  }));
  if (user.empty()) return {};
  return fail(Code::conflict, fmt::format("the deployment {} serves model {}:{}: update or delete the deployment first",
                                          user, version.name, version.version));
}

}  // namespace

Result<std::vector<Removal>> removals(db::Connection& c) {
  return db::all(c, "SELECT kind, id, name, asked_by, asked_us FROM removal ORDER BY asked_us, kind, id", read_removal);
}

Result<Removal> mark_run(db::Connection& c, const std::string& run_id, const http::Principal& who, Time now) {
  LATHE_TRY(const auto run, tracking::find_run(c, run_id));
  LATHE_CHECK(check_may_remove(who, "the run " + run.run_id, run.created_by));
  LATHE_CHECK(tracking::check_job_ended(run));
  LATHE_CHECK(check_no_version(c, "the run " + run.run_id, run.artifact_uri));
  LATHE_CHECK(check_no_asset(c, run));
  LATHE_TRY(const auto models, db::all(
                                   c, "SELECT id, artifact_uri FROM logged_model WHERE source_run_id = $1",
                                   [](const db::Row& row) {
                                     return std::pair{row.text(0), row.text(1)};
                                   },
                                   run_id));
  for (const auto& [id, uri] : models)
    LATHE_CHECK(check_no_version(c, fmt::format("the logged model {} of the run {}", id, run.run_id), uri));
  LATHE_CHECK(
      db::run(c, "UPDATE run SET stage = 'removing', deleted_us = $2 WHERE number = $1", run.number, micros(now)));
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET stage = 'removing' WHERE source_run_id = $1", run_id));
  return mark(c, {"run", run.run_id, run.run_name, who.user}, now);
}

Result<Removal> mark_experiment(db::Connection& c, std::int64_t id, const http::Principal& who, Time now) {
  LATHE_TRY(const auto experiment, tracking::find_experiment(c, id));
  const auto what = fmt::format("the experiment \"{}\"", experiment.name);
  if (id == tracking::kDefaultExperiment)
    return fail(Code::invalid, what + " is where runs go that name no experiment, and stays: delete its runs");
  LATHE_CHECK(check_may_remove(who, what, experiment.created_by));
  if (!who.is_administrator()) {
    LATHE_TRY(const auto other,
              db::first(
                  c, "SELECT created_by FROM run WHERE experiment_id = $1 AND created_by <> $2 LIMIT 1",
                  [](const db::Row& row) { return row.text(0); }, id, who.user));
    if (other) LATHE_CHECK(check_may_remove(who, "a run in " + what, *other));
  }
  LATHE_CHECK(tracking::check_no_job_runs(c, id));
  LATHE_CHECK(check_no_version(c, what, experiment.artifact_location));
  LATHE_CHECK(db::run(c, "UPDATE experiment SET stage = 'removing', name = $2, updated_us = $3 WHERE id = $1", id,
                      "removing " + random_hex(16), micros(now)));
  return mark(c, {"experiment", fmt::to_string(id), experiment.name, who.user}, now);
}

Result<Removal> mark_logged_model(db::Connection& c, const std::string& model_id, const http::Principal& who,
                                  Time now) {
  struct Row {
    std::string name, uri, created_by;
  };
  LATHE_TRY(const auto model,
            db::first(
                c, "SELECT name, artifact_uri, created_by FROM logged_model WHERE id = $1 AND stage <> 'removing'",
                [](const db::Row& row) {
                  return Row{row.text(0), row.text(1), row.text(2)};
                },
                model_id));
  if (!model) return fail(Code::not_found, fmt::format("Logged model with ID '{}' not found.", printable(model_id)));
  LATHE_CHECK(check_may_remove(who, "the logged model " + model_id, model->created_by));
  LATHE_CHECK(check_no_version(c, "the logged model " + model_id, model->uri));
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET stage = 'removing' WHERE id = $1", model_id));
  return mark(c, {"logged_model", model_id, model->name, who.user}, now);
}

Result<void> delete_version(db::Connection& c, const std::string& model, std::int64_t version, bool permanently,
                            const http::Principal& who, Time now) {
  LATHE_TRY(const auto found, registry::find_version(c, model, version));
  LATHE_CHECK(check_not_served(c, found));
  const auto what = fmt::format("{}:{}", model, version);
  if (permanently) {
    LATHE_CHECK(check_may_remove(who, "model " + what, found.created_by));
    LATHE_TRY(const auto files, own_files(c, found));
    if (!files.empty()) LATHE_CHECK(mark(c, {"artifacts", files, what, who.user}, now));
  }
  LATHE_CHECK(registry::delete_version(c, model, version, now));
  return auth::note(c, who.user, "model_version_delete", what);
}

Result<void> delete_model(db::Connection& c, const std::string& model, bool permanently, const http::Principal& who,
                          Time now) {
  LATHE_CHECK(registry::find_model(c, model));
  LATHE_TRY(const auto versions, registry::versions(c, model));
  for (const auto& version : versions) LATHE_CHECK(delete_version(c, model, version.version, permanently, who, now));
  LATHE_CHECK(registry::delete_model(c, model));
  return auth::note(c, who.user, "model_delete", model);
}

Result<Expired> expired(db::Connection& c, Time before) {
  Expired out;
  LATHE_TRY(out.experiments, db::all(
                                 c, "SELECT id FROM experiment WHERE stage = 'deleted' AND updated_us < $1 AND id <> 0",
                                 [](const db::Row& row) { return row.integer(0); }, micros(before)));
  // What belongs to those goes with them.
  static constexpr auto kRuns = R"sql(
    SELECT r.id FROM run r JOIN experiment e ON e.id = r.experiment_id
     WHERE r.deleted_us < $1 AND r.stage = 'deleted' AND (e.stage <> 'deleted' OR e.updated_us >= $1 OR e.id = 0))sql";
  static constexpr auto kModels = R"sql(
    SELECT m.id FROM logged_model m JOIN experiment e ON e.id = m.experiment_id
     WHERE m.updated_ms < $2 AND m.stage = 'deleted' AND (e.stage <> 'deleted' OR e.updated_us >= $1 OR e.id = 0))sql";
  LATHE_TRY(out.runs, db::all(
                          c, kRuns, [](const db::Row& row) { return row.text(0); }, micros(before)));
  LATHE_TRY(out.logged_models,
            db::all(
                c, kModels, [](const db::Row& row) { return row.text(0); }, micros(before), millis(before)));
  return out;
}

}  // namespace lathe::removal
