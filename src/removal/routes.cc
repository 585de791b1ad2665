#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "registry/registry.h"
#include "removal/remover.h"
#include "tracking/tracking.h"

namespace lathe::removal {

/// What a deletion answers with, and what is under way.
struct Deleted {
  std::string kind;
  std::string id;
  std::string name;
  std::string state;  ///< deleted, removing, active
  std::optional<std::string> asked_by;
  std::optional<std::string> asked_at;
};
struct Removals {
  std::vector<Deleted> value;
};

}  // namespace lathe::removal

namespace lathe::json {

template <>
struct Fields<removal::Deleted> {
  static constexpr std::string_view name = "Deleted";
  static constexpr auto list = std::tuple{
      field("kind", &removal::Deleted::kind, "run, experiment, logged_model, model, model_version or artifacts"),
      field("id", &removal::Deleted::id),
      field("name", &removal::Deleted::name),
      field("state", &removal::Deleted::state,
            "deleted; removing: gone for everybody, its space comes back; active: restored"),
      field("asked_by", &removal::Deleted::asked_by),
      field("asked_at", &removal::Deleted::asked_at)};
};
template <>
struct Fields<removal::Removals> {
  static constexpr std::string_view name = "Removals";
  static constexpr auto list = std::tuple{field("value", &removal::Removals::value)};
};

}  // namespace lathe::json

namespace lathe::removal {
namespace {

using http::Call;
using http::Method;
using http::Right;

bool permanently(const Call& call) {
  return call.query("permanently") == "true";
}

Deleted answer(const Removal& removal) {
  return {removal.kind, removal.id,       removal.name,
          "removing",   removal.asked_by, to_iso8601(from_micros(removal.asked_us))};
}

Result<tracking::Experiment> experiment_of(db::Connection& c, const Call& call) {
  const std::string name(call.param("name"));
  LATHE_TRY(auto found, tracking::find_experiment_by_name(c, name));
  if (found) return std::move(*found);
  return fail(Code::not_found,
              fmt::format("there is no experiment \"{}\"; `lathe experiment list` shows them", printable(name)));
}

Result<Deleted> delete_run(db::Connection& c, const Call& call) {
  const std::string id(call.param("id"));
  if (permanently(call)) return mark_run(c, id, call.principal, now()).map(answer);
  LATHE_TRY(const auto run, tracking::find_run(c, id));
  if (run.stage == tracking::Stage::active) LATHE_CHECK(tracking::delete_run(c, run, now()));
  return Deleted{"run", run.run_id, run.run_name, "deleted", {}, {}};
}

Result<Deleted> restore_run(db::Connection& c, const Call& call) {
  LATHE_TRY(const auto run, tracking::find_run(c, std::string(call.param("id"))));
  LATHE_CHECK(tracking::restore_run(c, run));
  return Deleted{"run", run.run_id, run.run_name, "active", {}, {}};
}

Result<Deleted> delete_experiment(db::Connection& c, const Call& call) {
  LATHE_TRY(const auto experiment, experiment_of(c, call));
  if (permanently(call)) return mark_experiment(c, experiment.id, call.principal, now()).map(answer);
  if (experiment.stage == tracking::Stage::active) LATHE_CHECK(tracking::delete_experiment(c, experiment.id, now()));
  return Deleted{"experiment", fmt::to_string(experiment.id), experiment.name, "deleted", {}, {}};
}

Result<Deleted> restore_experiment(db::Connection& c, const Call& call) {
  LATHE_TRY(const auto experiment, experiment_of(c, call));
  if (experiment.stage == tracking::Stage::deleted) LATHE_CHECK(tracking::restore_experiment(c, experiment.id, now()));
  return Deleted{"experiment", fmt::to_string(experiment.id), experiment.name, "active", {}, {}};
}

Result<Deleted> delete_the_version(db::Connection& c, const Call& call) {
  const std::string name(call.param("name"));
  const auto text = call.param("version");
  std::int64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc{} || end != text.data() + text.size() || version < 1)
    return fail(Code::invalid, fmt::format("version: a whole number from 1, not \"{}\"", printable(text)));
  LATHE_CHECK(removal::delete_version(c, name, version, permanently(call), call.principal, now()));
  return Deleted{"model_version", fmt::format("{}:{}", name, version), name, "deleted", {}, {}};
}

Result<Deleted> delete_the_model(db::Connection& c, const Call& call) {
  const std::string name(call.param("name"));
  LATHE_CHECK(removal::delete_model(c, name, permanently(call), call.principal, now()));
  return Deleted{"model", name, name, "deleted", {}, {}};
}

}  // namespace

void add_routes(http::Router& router, db::Database& db, Remover& remover) {
  const auto add = [&](std::string id, Method method, std::string path, std::string summary, auto work) {
    http::Route route;
    route.id = std::move(id);
    route.method = method;
    route.path = std::move(path);
    route.right = Right::write;
    route.summary = std::move(summary);
    router.add_json(std::move(route), [&db, &remover, work](Call& call) -> Result<Deleted> {
      LATHE_TRY(auto done, db.write([&](db::Connection& c) { return work(c, call); }));
      remover.wake();
      return done;
    });
  };
  const std::string models = "/api/v1/models/{name}";
  add("run_delete", Method::del, "/api/v1/runs/{id}",
      "Marks a run as deleted; with permanently=true it goes for good, with its points and artifacts.", delete_run);
  add("run_restore", Method::post, "/api/v1/runs/{id}/restore", "Takes the deletion of a run back.", restore_run);
  add("experiment_delete", Method::del, "/api/v1/experiments/{name}",
      "Marks an experiment and its runs as deleted; with permanently=true they go for good.", delete_experiment);
  add("experiment_restore", Method::post, "/api/v1/experiments/{name}/restore",
      "Takes the deletion of an experiment back.", restore_experiment);
  add("model_version_delete", Method::del, models + "/versions/{version}",
      "Removes a version from the registry; with permanently=true its own files too.", delete_the_version);
  add("model_delete", Method::del, models,
      "Removes a model with all its versions; with permanently=true their own files too.", delete_the_model);
  router.add_json({.id = "removal_list",
                   .method = Method::get,
                   .path = "/api/v1/removals",
                   .right = Right::read,
                   .summary = "What is being removed for good, oldest first."},
                  [&db](Call&) -> Result<Removals> {
                    LATHE_TRY(const auto found, db.read([](db::Connection& c) { return removals(c); }));
                    Removals out;
                    for (const auto& removal : found) out.value.push_back(answer(removal));
                    return out;
                  });
}

}  // namespace lathe::removal
