// What another MLflow server has, taken over as it is there: with ids, times, version numbers and deletions, which no
// client may choose. For administrators; `lathe store import` sends the records one by one, and may send each again.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "mlflow/places.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

/// One record of the source and what became of it here.
struct Taken {
  std::string target;
  bool complete = false;
};

struct Request {
  std::string source;  ///< the other server, as it names itself
  std::string url;     ///< where it answers; may be another one tomorrow
  std::string id;      ///< the record's there
  Message record;
  Message fields;
  http::Principal who;
};

/// Notes of earlier imports may have the URL in the source's place.
Result<std::optional<Taken>> find_taken(db::Connection& c, const Request& asked, std::string_view kind) {
  static constexpr auto kSql = R"sql(
    SELECT target, complete FROM imported WHERE source IN ($1, $2) AND kind = $3 AND id = $4
     ORDER BY CASE WHEN source = $1 THEN 0 ELSE 1 END LIMIT 1)sql";
  return db::first(
      c, kSql,
      [](const db::Row& row) {
        return Taken{row.text(0), row.integer(1) != 0};
      },
      asked.source, asked.url, kind, asked.id);
}

Result<void> keep_taken(db::Connection& c, const Request& asked, std::string_view kind, const Taken& taken) {
  static constexpr auto kSql = R"sql(
    INSERT INTO imported (source, kind, id, target, complete) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (source, kind, id) DO UPDATE SET target = excluded.target, complete = excluded.complete)sql";
  LATHE_CHECK(db::run(c, kSql, asked.source, kind, asked.id, taken.target, taken.complete));
  return {};
}

json::Object answer(const Taken& taken) {
  return {{"target", taken.target}, {"complete", taken.complete}};
}

Result<std::int64_t> time_of(const Message& fields, std::string_view name, std::int64_t absent) {
  LATHE_TRY(const auto time, fields.integer(name));
  return time.value_or(absent);
}

bool is_deleted(const std::string& stage) {
  return stage == "deleted";
}

Result<std::int64_t> experiment_of(const Request& asked) {
  LATHE_TRY(const auto text, asked.fields.need("experiment"));
  return tracking::parse_experiment_id(text);
}

Result<std::vector<tracking::Param>> params_of(const Message& fields) {
  LATHE_TRY(auto pairs, fields.pairs("params"));
  std::vector<tracking::Param> out;
  for (auto& pair : pairs) out.push_back({std::move(pair.key), std::move(pair.value)});
  return out;
}

Error taken_name(std::string_view what, const std::string& name, const std::string& source) {
  return {
      Code::conflict,
      fmt::format("there is {} \"{}\" here, which was not taken from {}: rename it, or let --rename-suffix name what "
                  "comes",
                  what, printable(name), source),
      {}};
}

// --- experiments ---

Result<std::int64_t> make_experiment(db::Connection& c, const Request& asked, const std::string& name) {
  LATHE_TRY(const auto found, tracking::find_experiment_by_name(c, name));
  if (found && found->id == tracking::kDefaultExperiment) {
    LATHE_TRY(const auto run,
              db::first(c, "SELECT 1 FROM run WHERE experiment_id = 0 LIMIT 1", [](const db::Row&) { return true; }));
    if (!run) return found->id;  // it is there from the start
  }
  if (found) return fail(taken_name("an experiment", name, asked.url));
  LATHE_TRY(auto tags, asked.record.pairs("tags"));
  const auto at = now();
  LATHE_TRY(const auto id, tracking::create_experiment(c, name, "", tags_of(std::move(tags)), asked.who.user, at));
  LATHE_TRY(const auto created, time_of(asked.record, "creation_time", millis(at)));
  LATHE_CHECK(db::run(c, "UPDATE experiment SET created_us = $2 WHERE id = $1", id, created * 1000));
  return id;
}

Result<json::Object> experiment(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(auto taken, find_taken(c, asked, "experiment"));
  if (!taken) {
    LATHE_TRY(const auto id, make_experiment(c, asked, name));
    taken = Taken{fmt::to_string(id), false};
  }
  LATHE_TRY(const auto id, tracking::parse_experiment_id(taken->target));
  LATHE_TRY(const auto here, tracking::find_experiment(c, id));
  // What it holds comes first; `experiment_end` says how it ends.
  if (here.stage == tracking::Stage::deleted) {
    LATHE_TRY(const auto stage, asked.record.text("lifecycle_stage"));
    if (taken->complete && !is_deleted(stage))
      return fail(Code::conflict,
                  fmt::format("the experiment \"{}\" was taken over and then deleted here: restore it to take more",
                              here.name));
    LATHE_CHECK(tracking::restore_experiment(c, id, now()));
  }
  LATHE_CHECK(keep_taken(c, asked, "experiment", *taken));
  return answer(*taken);
}

Result<json::Object> experiment_end(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto id, experiment_of(asked));
  LATHE_TRY(const auto stage, asked.record.text("lifecycle_stage"));
  LATHE_TRY(const auto updated, time_of(asked.record, "last_update_time", millis(now())));
  if (!is_deleted(stage))
    LATHE_CHECK(db::run(c, "UPDATE experiment SET updated_us = $2 WHERE id = $1", id, updated * 1000));
  else if (id != tracking::kDefaultExperiment)
    LATHE_CHECK(tracking::delete_experiment(c, id, now()));
  const Taken taken{fmt::to_string(id), true};
  LATHE_CHECK(keep_taken(c, asked, "experiment", taken));
  return answer(taken);
}

// --- runs ---

Result<tracking::RunInfo> make_run(db::Connection& c, const Request& asked, const Message& info,
                                   std::vector<tracking::Tag> tags) {
  constexpr std::string_view kRunName = "mlflow.runName";
  tracking::RunSpec spec;
  spec.run_id = asked.id;
  LATHE_TRY(spec.experiment_id, experiment_of(asked));
  LATHE_TRY(spec.run_name, info.text("run_name"));
  LATHE_TRY(spec.user, info.text("user_id"));
  LATHE_TRY(spec.start_ms, time_of(info, "start_time", 0));
  spec.created_by = asked.who.user;
  for (auto& tag : tags) {
    if (tag.key != kRunName) continue;
    if (spec.run_name.empty()) spec.run_name = tag.value;
    tag.value = spec.run_name;
  }
  spec.tags = std::move(tags);
  LATHE_TRY(auto run, tracking::create_run(c, std::move(spec)));
  return std::move(run.info);
}

Result<json::Object> run(db::Connection& c, const Request& asked) {
  LATHE_CHECK(tracking::check_run_id(asked.id));
  LATHE_TRY(const auto taken, find_taken(c, asked, "run"));
  if (taken && taken->complete) return answer(*taken);
  LATHE_TRY(const auto info, asked.record.object("info"));
  LATHE_TRY(const auto data, asked.record.object("data"));
  LATHE_TRY(auto pairs, data.pairs("tags"));
  auto tags = tags_of(std::move(pairs));
  LATHE_TRY(const auto params, params_of(data));
  tracking::RunInfo here;
  if (taken) {
    LATHE_TRY(here, tracking::find_run(c, asked.id));
    if (here.stage == tracking::Stage::deleted) LATHE_CHECK(tracking::restore_run(c, here));
    LATHE_CHECK(tracking::set_tags(c, here, tags));
  } else {
    LATHE_TRY(here, make_run(c, asked, info, std::move(tags)));
  }
  LATHE_CHECK(tracking::log_params(c, here, params));
  LATHE_TRY(const auto inputs, asked.record.object("inputs"));
  LATHE_TRY(const auto outputs, asked.record.object("outputs"));
  LATHE_TRY(const auto items, inputs.list("dataset_inputs"));
  std::vector<tracking::DatasetInput> datasets;
  for (const auto& item : items) {
    LATHE_TRY(auto dataset, dataset_of(item));
    datasets.push_back(std::move(dataset));
  }
  LATHE_CHECK(tracking::log_datasets(c, here, datasets));
  // A model that was deleted there is not here either.
  for (const auto& [role, fields, name] : {std::tuple{tracking::ModelRole::input, &inputs, "model_inputs"},
                                           std::tuple{tracking::ModelRole::output, &outputs, "model_outputs"}}) {
    LATHE_TRY(auto links, links_of(*fields, name));
    std::erase_if(links, [&](const auto& link) { return !tracking::find_logged_model(c, link.model_id); });
    LATHE_CHECK(tracking::log_run_models(c, here, role, links));
  }
  const Taken begun{asked.id, false};
  LATHE_CHECK(keep_taken(c, asked, "run", begun));
  auto out = answer(begun);
  out["artifact_uri"] = here.artifact_uri;
  return out;
}

/// The run's points and artifacts are here. One that had not ended there, or did not come whole (`partial`), is taken
/// up by the next import.
Result<json::Object> run_end(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto taken, find_taken(c, asked, "run"));
  if (!taken)
    return fail(Code::not_found, fmt::format("the run {} was not taken from {}", printable(asked.id), asked.url));
  LATHE_TRY(const auto here, tracking::find_run(c, asked.id));
  LATHE_TRY(const auto status, asked.record.text("status"));
  LATHE_TRY(const auto end, asked.record.integer("end_time"));
  LATHE_TRY(const auto stage, asked.record.text("lifecycle_stage"));
  const auto parsed = tracking::parse_status(status).value_or(tracking::RunStatus::finished);
  LATHE_CHECK(tracking::set_run_status(c, asked.id, parsed, end && *end > 0 ? end : std::nullopt));
  if (is_deleted(stage)) LATHE_CHECK(tracking::delete_run(c, here, now()));
  const bool ended = parsed != tracking::RunStatus::running && parsed != tracking::RunStatus::scheduled;
  LATHE_TRY(const bool partial, asked.fields.flag("partial"));
  const Taken done{asked.id, ended && !partial};
  LATHE_CHECK(keep_taken(c, asked, "run", done));
  return answer(done);
}

// --- logged models ---

Result<void> make_logged_model(db::Connection& c, const Request& asked, const Message& info) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO logged_model (id, experiment_id, name, artifact_uri, status, model_type, source_run_id, created_by,
                              created_ms, updated_ms, stage)
    VALUES ($1, $2, $3, $4, 'LOGGED_MODEL_PENDING', $5, $6, $7, $8, $8, 'active') ON CONFLICT (id) DO NOTHING)sql";
  LATHE_TRY(const auto experiment, experiment_of(asked));
  LATHE_TRY(const auto here, tracking::find_experiment(c, experiment));
  LATHE_TRY(const auto name, info.need("name"));
  LATHE_TRY(const auto type, info.text("model_type"));
  LATHE_TRY(const auto run, info.text("source_run_id"));
  LATHE_TRY(const auto created, time_of(info, "creation_timestamp_ms", millis(now())));
  for (const auto& text : {name, type, run}) LATHE_CHECK(tracking::check_text("logged model", text));
  const auto uri = fmt::format("{}/models/{}/artifacts", here.artifact_location, asked.id);
  LATHE_TRY(const auto made, db::run(c, kInsert, asked.id, experiment, name, uri, type, run, asked.who.user, created));
  if (made == 0)
    return fail(Code::conflict,
                fmt::format("there is a logged model {} here, which was not taken from {}", asked.id, asked.url));
  return {};
}

Result<json::Object> logged_model(db::Connection& c, const Request& asked) {
  LATHE_CHECK(tracking::check_run_id(asked.id));
  LATHE_TRY(const auto taken, find_taken(c, asked, "logged_model"));
  if (taken && taken->complete) return answer(*taken);
  LATHE_TRY(const auto info, asked.record.object("info"));
  LATHE_TRY(const auto data, asked.record.object("data"));
  LATHE_TRY(const auto params, params_of(data));
  LATHE_TRY(auto tags, info.pairs("tags"));
  if (!taken) LATHE_CHECK(make_logged_model(c, asked, info));
  LATHE_CHECK(tracking::log_model_params(c, asked.id, params));
  LATHE_CHECK(tracking::set_model_tags(c, asked.id, tags_of(std::move(tags)), now()));
  LATHE_TRY(const auto points, data.list("metrics"));
  for (const auto& item : points) {
    LATHE_TRY(auto point, metric_of(item, false));
    point.model_id = asked.id;
    tracking::RunInfo of;
    LATHE_TRY(of.run_id, item.text("run_id"));
    LATHE_CHECK(tracking::log_model_metric(c, of, point));
  }
  const Taken begun{asked.id, false};
  LATHE_CHECK(keep_taken(c, asked, "logged_model", begun));
  LATHE_TRY(const auto here, tracking::find_logged_model(c, asked.id));
  auto out = answer(begun);
  out["artifact_uri"] = here.artifact_uri;
  return out;
}

Result<json::Object> logged_model_end(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto taken, find_taken(c, asked, "logged_model"));
  if (!taken)
    return fail(Code::not_found, fmt::format("the model {} was not taken from {}", printable(asked.id), asked.url));
  LATHE_TRY(const auto updated, time_of(asked.record, "last_updated_timestamp_ms", millis(now())));
  LATHE_TRY(const auto status, asked.record.choice("status", {"LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
                                                              "LOGGED_MODEL_UPLOAD_FAILED"}));
  static constexpr std::string_view kNames[] = {"LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
                                                "LOGGED_MODEL_UPLOAD_FAILED"};
  const auto which = status.value_or(2);
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET status = $2, updated_ms = $3 WHERE id = $1", asked.id,
                      kNames[which - 1], updated));
  LATHE_TRY(const bool partial, asked.fields.flag("partial"));
  const Taken done{asked.id, which != 1 && !partial};
  LATHE_CHECK(keep_taken(c, asked, "logged_model", done));
  return answer(done);
}

// --- the registry ---

Result<json::Object> registered_model(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(auto taken, find_taken(c, asked, "registered_model"));
  LATHE_TRY(const bool exists, registry::model_exists(c, name));
  if (!taken && exists) return fail(taken_name("a registered model", name, asked.url));
  if (!exists) {
    LATHE_TRY(auto pairs, asked.record.pairs("tags"));
    LATHE_TRY(const auto description, asked.record.text("description"));
    std::vector<registry::Tag> tags;
    for (auto& pair : pairs) tags.push_back({std::move(pair.key), std::move(pair.value)});
    LATHE_CHECK(registry::create_model(c, name, description, tags, asked.who.user, now()));
    taken = Taken{name, false};
  }
  LATHE_CHECK(keep_taken(c, asked, "registered_model", *taken));
  return answer(*taken);
}

/// Its versions are here: the aliases that name them, and its own times.
Result<json::Object> registered_model_end(db::Connection& c, const Request& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto aliases, asked.record.list("aliases"));
  for (const auto& item : aliases) {
    LATHE_TRY(const auto alias, item.need("alias"));
    LATHE_TRY(const auto version, version_of(item));
    LATHE_CHECK(registry::set_alias(c, name, alias, version));
  }
  const auto at = millis(now());
  LATHE_TRY(const auto created, time_of(asked.record, "creation_timestamp", at));
  LATHE_TRY(const auto updated, time_of(asked.record, "last_updated_timestamp", at));
  LATHE_CHECK(db::run(c, "UPDATE registered_model SET created_us = $2, updated_us = $3 WHERE name = $1", name,
                      created * 1000, updated * 1000));
  const Taken done{name, true};
  LATHE_CHECK(keep_taken(c, asked, "registered_model", done));
  return answer(done);
}

/// Where the files lie here that lie at `uri` there: those of a run or logged model that were taken over. Empty:
/// nowhere.
Result<std::string> place_here(db::Connection& c, const Request& asked, const std::string& uri) {
  LATHE_TRY(const auto run_id, asked.record.text("run_id"));
  LATHE_TRY(const auto model_id, asked.record.text("model_id"));
  if (uri.starts_with("runs:/")) {
    const auto rest = uri.substr(std::string_view("runs:/").size());
    const auto run = tracking::find_run(c, rest.substr(0, rest.find('/')));
    return run ? run->artifact_uri + (rest.find('/') == std::string::npos ? "" : rest.substr(rest.find('/')))
               : std::string();
  }
  if (uri.starts_with("models:/")) {
    const auto model = tracking::find_logged_model(c, uri.substr(std::string_view("models:/").size()));
    return model ? model->artifact_uri : std::string();
  }
  for (const auto& id : split(uri, '/')) {
    const auto end = fmt::format("/{}/artifacts", id);
    const auto at = uri.find(end);
    if (at == std::string::npos || (id != run_id && id != model_id && !id.starts_with("m-"))) continue;
    const auto rest = uri.substr(at + end.size());
    if (const auto run = tracking::find_run(c, id)) return run->artifact_uri + rest;
    if (const auto model = tracking::find_logged_model(c, std::string(id))) return model->artifact_uri + rest;
  }
  return std::string();
}

Result<registry::VersionSpec> version_spec(const Request& asked) {
  registry::VersionSpec spec;
  LATHE_TRY(spec.name, asked.fields.need("name"));
  LATHE_TRY(spec.version, version_of(asked.record));
  LATHE_TRY(spec.source, asked.record.text("source"));
  LATHE_TRY(spec.run_id, asked.record.text("run_id"));
  LATHE_TRY(spec.run_link, asked.record.text("run_link"));
  LATHE_TRY(spec.model_id, asked.record.text("model_id"));
  LATHE_TRY(spec.description, asked.record.text("description"));
  LATHE_TRY(auto tags, asked.record.pairs("tags"));
  for (auto& tag : tags) spec.tags.push_back({std::move(tag.key), std::move(tag.value)});
  spec.created_by = asked.who.user;
  return spec;
}

Result<json::Object> model_version(db::Connection& c, const Request& asked, const std::string& artifact_uri) {
  LATHE_TRY(auto spec, version_spec(asked));
  LATHE_TRY(const auto taken, find_taken(c, asked, "model_version"));
  const Taken done{fmt::format("{}:{}", spec.name, spec.version.value_or(0)), true};
  if (taken && registry::find_version(c, spec.name, spec.version.value_or(0))) {
    auto out = answer(*taken);
    out["here_before"] = true;
    return out;
  }
  if (!artifact_uri.empty()) {
    spec.artifact_uri = artifact_uri;
    if (!spec.source.starts_with("runs:/") && !spec.source.starts_with("models:/")) spec.source = artifact_uri;
  }
  LATHE_TRY(const auto stage, asked.record.text("current_stage"));
  const auto at = millis(now());
  LATHE_TRY(const auto created, time_of(asked.record, "creation_timestamp", at));
  LATHE_TRY(const auto updated, time_of(asked.record, "last_updated_timestamp", at));
  LATHE_TRY(const auto made, registry::create_version(c, spec, now()));
  if (!stage.empty() && stage != made.stage)
    LATHE_CHECK(registry::move_to_stage(c, made.name, made.version, stage, false, now()));
  LATHE_CHECK(db::run(c, "UPDATE model_version SET created_us = $3, updated_us = $4 WHERE model = $1 AND version = $2",
                      made.name, made.version, created * 1000, updated * 1000));
  LATHE_CHECK(keep_taken(c, asked, "model_version", done));
  return answer(done);
}

Result<Request> request_of(const Call& call) {
  LATHE_TRY(auto fields, Message::read(call));
  LATHE_TRY(auto source, fields.need("source"));
  LATHE_TRY(auto url, fields.text("url"));
  LATHE_TRY(auto id, fields.need("id"));
  LATHE_TRY(auto record, fields.object("record"));
  if (url.empty()) url = source;
  return Request{std::move(source), std::move(url),    std::move(id),
                 std::move(record), std::move(fields), call.principal};
}

/// Where a version's files lie here, when they do: a version never names files that did not come along.
Result<std::string> files_of_version(db::Database& db, storage::Storage& artifacts, const Request& asked) {
  LATHE_TRY(auto uri, asked.fields.text("artifact_uri"));
  if (uri.empty()) {
    LATHE_TRY(uri, asked.record.text("source"));
  }
  LATHE_TRY(const auto here, db.read([&](db::Connection& c) { return place_here(c, asked, uri); }));
  const auto path = artifact_path(here);
  if (here.empty() || !path || !storage::check_path(*path)) return std::string();
  LATHE_TRY(const auto files, artifacts.files(*path));
  if (!files.empty()) return here;
  return artifacts.download(*path, "bytes=0-0") ? here : std::string();
}

}  // namespace

void add_import_routes(Table& table, storage::Storage& artifacts) {
  using Work = Result<json::Object> (*)(db::Connection&, const Request&);
  const auto route_of = [](std::string_view kind, std::string_view summary) {
    http::Route route;
    route.id = fmt::format("import_{}", kind);
    route.method = Method::post;
    route.path = fmt::format("/api/v1/import/{}", kind);
    route.right = Right::administer;
    route.summary = summary;
    route.body_limit = std::size_t{64} << 20;
    return route;
  };
  const auto add = [&](std::string_view kind, std::string_view summary, Work work) {
    table.router().add(route_of(kind, summary), [&db = table.db(), work](Call& call) -> Result<Response> {
      LATHE_TRY(const auto asked, request_of(call));
      LATHE_TRY(auto out, db.write([&](db::Connection& c) { return work(c, asked); }));
      return http::json_response(std::move(out));
    });
  };
  add("experiment", "Takes an experiment of another MLflow server over; it stays active until experiment_end.",
      experiment);
  add("experiment_end", "The experiment's runs are here: its last times and stage.", experiment_end);
  add("run", "Takes a run over, under its id; its points and artifacts follow as clients log them.", run);
  add("run_end", "The run's points and artifacts are here: its status, end and stage.", run_end);
  add("logged_model", "Takes a logged model over, under its id; its artifacts follow.", logged_model);
  add("logged_model_end", "The logged model's artifacts are here: its status.", logged_model_end);
  add("registered_model", "Takes a registered model over, without versions.", registered_model);
  add("registered_model_end", "The model's versions are here: its aliases and times.", registered_model_end);
  auto route = route_of("model_version", "Takes a version over, under its number, with the files that came along.");
  route.waits = true;
  table.router().add(std::move(route), [&db = table.db(), &artifacts](Call& call) -> Result<Response> {
    LATHE_TRY(const auto asked, request_of(call));
    LATHE_TRY(const auto files, files_of_version(db, artifacts, asked));
    LATHE_TRY(auto out, db.write([&](db::Connection& c) { return model_version(c, asked, files); }));
    out["files"] = !files.empty();
    return http::json_response(std::move(out));
  });
}

}  // namespace lathe::mlflow
