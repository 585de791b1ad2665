#include "serving/endpoint.h"

#include "base/digest.h"
#include "base/hex.h"
#include "base/text.h"
#include "base/time.h"
#include "base/timed_token.h"

namespace lathe::serving {
namespace {

#define LATHE_ENDPOINT_COLUMNS \
  "name, description, tags, traffic, mirror_traffic, rollback, shift, primary_key, secondary_key, created_by, created_us, updated_us"
#define LATHE_DEPLOYMENT_COLUMNS                                                                                    \
  "endpoint, name, spec, previous, state, served, error, all_traffic, generation, description, tags, created_by, " \
  "changed_by, created_us, updated_us"

/// Reads back what we wrote ourselves; a T's default should it be damaged.
template <class T>
T stored(std::string_view text) {
  if (auto value = json::parse(text))
    if (auto read = json::from_json<T>(*value)) return std::move(*read);
  return {};
}

Endpoint read_endpoint(const db::Row& row) {
  Endpoint out;
  out.name = row.text(0);
  out.description = row.text(1);
  out.tags = stored<std::map<std::string, std::string>>(row.text_view(2));
  out.traffic = stored<Traffic>(row.text_view(3));
  out.mirror_traffic = stored<Traffic>(row.text_view(4));
  if (!row.text_view(5).empty()) out.rollback = stored<Rollback>(row.text_view(5));
  if (!row.text_view(6).empty()) out.shift = stored<Shift>(row.text_view(6));
  out.primary_key = row.text(7);
  out.secondary_key = row.text(8);
  out.created_by = row.text(9);
  out.created_us = row.integer(10);
  out.updated_us = row.integer(11);
  return out;
}

Deployment read_deployment(const db::Row& row) {
  Deployment out;
  out.endpoint = row.text(0);
  out.name = row.text(1);
  out.spec = stored<Spec>(row.text_view(2));
  if (!row.text_view(3).empty()) out.previous = stored<Spec>(row.text_view(3));
  out.state = row.text(4);
  out.served = row.integer(5) != 0;
  out.error = row.text(6);
  out.all_traffic = row.integer(7) != 0;
  out.generation = row.integer(8);
  out.description = row.text(9);
  out.tags = stored<std::map<std::string, std::string>>(row.text_view(10));
  out.created_by = row.text(11);
  out.changed_by = row.text(12);
  out.created_us = row.integer(13);
  out.updated_us = row.integer(14);
  return out;
}

template <class T>
std::string text_of(const T& value) {
  return json::print(json::to_json(value));
}

}  // namespace

Result<std::vector<Endpoint>> endpoints(db::Connection& c) {
  LATHE_TRY(auto all, db::all(c, "SELECT " LATHE_ENDPOINT_COLUMNS " FROM endpoint ORDER BY name", read_endpoint));
  for (auto& each : all) {
    LATHE_TRY(each.access, find_access(c, each.name));
  }
  return all;
}

Result<Endpoint> find_endpoint(db::Connection& c, const std::string& name) {
  LATHE_TRY(auto found, db::first(c, "SELECT " LATHE_ENDPOINT_COLUMNS " FROM endpoint WHERE name = $1", read_endpoint, name));
  if (found) {
    LATHE_TRY(found->access, find_access(c, name));
    return std::move(*found);
  }
  LATHE_TRY(const auto existing, endpoints(c));
  std::vector<std::string> names;
  for (const auto& each : existing) names.push_back(each.name);
  return fail(Code::not_found, unknown_name("endpoint", name, names));
}

Result<void> insert_endpoint(db::Connection& c, const Endpoint& endpoint) {
  static constexpr auto kSql = R"sql(
    INSERT INTO endpoint (name, description, tags, traffic, mirror_traffic, primary_key, secondary_key, created_by, created_us,
                          updated_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9))sql";
  auto made = db::run(c, kSql, endpoint.name, endpoint.description, text_of(endpoint.tags), text_of(endpoint.traffic),
                      text_of(endpoint.mirror_traffic), endpoint.primary_key, endpoint.secondary_key, endpoint.created_by,
                      endpoint.created_us);
  if (!made && made.error().code == Code::conflict)
    return fail(Code::conflict, "name: there is an endpoint \"" + endpoint.name + "\" already: update it, or take another name");
  if (!made) return fail(made.error());
  return put_access(c, endpoint.name, endpoint.access);
}

Result<void> update_endpoint(db::Connection& c, const Endpoint& endpoint) {
  static constexpr auto kSql = R"sql(
    UPDATE endpoint
       SET description = $2, tags = $3, traffic = $4, mirror_traffic = $5, rollback = $6, shift = $7,
           primary_key = $8, secondary_key = $9, updated_us = $10
     WHERE name = $1)sql";
  LATHE_CHECK(db::run(c, kSql, endpoint.name, endpoint.description, text_of(endpoint.tags), text_of(endpoint.traffic),
                      text_of(endpoint.mirror_traffic), endpoint.rollback ? text_of(*endpoint.rollback) : std::string{},
                      endpoint.shift ? text_of(*endpoint.shift) : std::string{}, endpoint.primary_key, endpoint.secondary_key,
                      endpoint.updated_us));
  return put_access(c, endpoint.name, endpoint.access);
}

Result<void> delete_endpoint(db::Connection& c, const std::string& name) {
  LATHE_CHECK(db::run(c, "DELETE FROM deployment WHERE endpoint = $1", name));
  LATHE_CHECK(db::run(c, "DELETE FROM endpoint_access WHERE endpoint = $1", name));
  LATHE_CHECK(db::run(c, "DELETE FROM endpoint WHERE name = $1", name));
  return {};
}

Result<std::vector<Deployment>> deployments(db::Connection& c, const std::string& endpoint) {
  static constexpr auto kSql = "SELECT " LATHE_DEPLOYMENT_COLUMNS " FROM deployment WHERE endpoint = $1 ORDER BY name";
  return db::all(c, kSql, read_deployment, endpoint);
}

Result<std::vector<Deployment>> every_deployment(db::Connection& c) {
  return db::all(c, "SELECT " LATHE_DEPLOYMENT_COLUMNS " FROM deployment ORDER BY endpoint, name", read_deployment);
}

Result<std::vector<Deployment>> unsettled_deployments(db::Connection& c) {
  static constexpr auto kSql =
      "SELECT " LATHE_DEPLOYMENT_COLUMNS " FROM deployment WHERE state IN ('Creating', 'Updating') ORDER BY endpoint, name";
  return db::all(c, kSql, read_deployment);
}

Result<Deployment> find_deployment(db::Connection& c, const std::string& endpoint, const std::string& name) {
  LATHE_CHECK(find_endpoint(c, endpoint));
  LATHE_TRY(auto all, deployments(c, endpoint));
  std::vector<std::string> names;
  for (auto& each : all) {
    if (each.name == name) return std::move(each);
    names.push_back(each.name);
  }
  return fail(Code::not_found, unknown_name("deployment", name, names));
}

Result<void> put_deployment(db::Connection& c, const Deployment& d) {
  static constexpr auto kSql = R"sql(
    INSERT INTO deployment (endpoint, name, spec, previous, state, served, error, all_traffic, generation, description, tags,
                            created_by, changed_by, created_us, updated_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (endpoint, name) DO UPDATE
       SET spec = excluded.spec, previous = excluded.previous, state = excluded.state, served = excluded.served,
           error = excluded.error, all_traffic = excluded.all_traffic, generation = excluded.generation,
           description = excluded.description, tags = excluded.tags, changed_by = excluded.changed_by,
           updated_us = excluded.updated_us)sql";
  LATHE_CHECK(db::run(c, kSql, d.endpoint, d.name, text_of(d.spec), d.previous ? text_of(*d.previous) : std::string{},
                      d.state, d.served, d.error, d.all_traffic, d.generation, d.description, text_of(d.tags), d.created_by,
                      d.changed_by, d.created_us, d.updated_us));
  return {};
}

Result<void> begin_change(db::Connection& c, Deployment wanted, const std::string& who, bool all_traffic, std::int64_t generation) {
  LATHE_TRY(auto endpoint, find_endpoint(c, wanted.endpoint));
  if (endpoint.shift) {
    end_watch(endpoint, "deployment " + wanted.name + " was changed");
    LATHE_CHECK(update_endpoint(c, endpoint));
  }
  const auto found = find_deployment(c, wanted.endpoint, wanted.name);
  if (!found && found.error().code != Code::not_found) return fail(found.error());
  if (found && found->previous)
    return fail(Code::conflict, "deployment \"" + wanted.name + "\" is being updated: wait until it is ready or has failed");
  const auto time = micros(now());
  wanted.created_by = found ? found->created_by : who;
  wanted.changed_by = who;
  wanted.created_us = found ? found->created_us : time;
  wanted.updated_us = time;
  wanted.generation = generation;
  wanted.all_traffic = all_traffic;
  wanted.error.clear();
  wanted.served = true;
  // Only what has answered is worth going back to.
  const bool answers = found && found->served && found->state != "Creating";
  wanted.state = answers ? "Updating" : "Creating";
  wanted.previous = answers ? std::optional{found->spec} : std::nullopt;
  return put_deployment(c, wanted);
}

Result<void> delete_deployment(db::Connection& c, const std::string& endpoint, const std::string& name) {
  LATHE_CHECK(db::run(c, "DELETE FROM deployment WHERE endpoint = $1 AND name = $2", endpoint, name));
  return {};
}

Result<std::int64_t> last_generation(db::Connection& c) {
  static constexpr auto kSql = "SELECT generation FROM serving_generation WHERE id = 1";
  LATHE_TRY(const auto found, db::first(c, kSql, [](const db::Row& row) { return row.integer(0); }));
  return found.value_or(0);
}

Result<std::int64_t> next_generation(db::Connection& c) {
  static constexpr auto kSql = "UPDATE serving_generation SET generation = generation + 1 WHERE id = 1 RETURNING generation";
  LATHE_TRY(const auto generation, db::first(c, kSql, [](const db::Row& row) { return row.integer(0); }));
  return generation.value_or(0);
}

namespace {

json::Object desired_python(const Spec& spec) {
  const auto& python = *spec.python;
  return {{"interpreter", python.interpreter},
          {"library", python.library},
          {"environment", python.environment},
          {"code", python.code},
          {"script", python.script},
          {"model_folder", python.model_folder},
          {"variables", json::to_json(python.variables)},
          {"account", python.account},
          {"isolation", python.isolation},
          {"network", python.network},
          {"memory_bytes", python.memory_bytes},
          {"cores", python.cores},
          {"workers", spec.instance_count * python.workers_per_instance},
          {"request_timeout_ms", spec.request_timeout_ms},
          {"max_queue_wait_ms", python.max_queue_wait_ms},
          {"max_queue", spec.max_queue}};
}

/// By what the data plane knows who may ask: digests of keys or, where there are tokens, the public keys that sign them.
/// Nothing can be made of either.
Result<json::Array> known_keys(const Endpoint& endpoint) {
  json::Array out;
  for (const auto& key : {endpoint.primary_key, endpoint.secondary_key}) {
    if (!endpoint.access.auth_mode) {
      out.emplace_back(sha256_hex(key));
      continue;
    }
    LATHE_TRY(const auto signer, public_key_of(signing_key(endpoint.name, key)));
    out.emplace_back(to_hex(signer));
  }
  return out;
}

}  // namespace

json::Value desired_deployment(const std::string& name, const Spec& spec) {
  json::Object model{{"name", spec.model_name}, {"version", spec.model_version}, {"format", spec.format},
                     {"folder", spec.folder},   {"file", spec.file},             {"files", json::to_json(spec.files)}};
  if (spec.python) model["python"] = desired_python(spec);
  if (spec.python && spec.python->image) model["python"].as_object()["image"] = json::to_json(*spec.python->image);
  if (spec.python && spec.python->workers_per_instance > 1)
    model["python"].as_object()["workers_per_instance"] = spec.python->workers_per_instance;
  if (spec.scale) {
    constexpr std::int64_t kMs = 1000;
    const auto each = spec.python ? spec.python->workers_per_instance : 1;
    model["scale"] = json::Object{{"min", spec.scale->min_instances * each},
                                  {"max", spec.scale->max_instances * each},
                                  {"target_percent", spec.scale->target_utilization_percentage},
                                  {"polling_ms", spec.scale->polling_interval * kMs},
                                  {"quiet_ms", spec.scale->idle_time_before_scale_down * kMs}};
  }
  if (spec.model_config) model["config"] = json::to_json(*spec.model_config);
  if (!spec.feature_names.empty()) model["feature_names"] = json::to_json(spec.feature_names);
  return json::Object{{"name", name},
                      {"model", std::move(model)},
                      {"instances", spec.instance_count},
                      {"request_timeout_ms", spec.request_timeout_ms},
                      {"max_queue", spec.max_queue}};
}

Result<json::Value> desired_state(db::Connection& c) {
  LATHE_TRY(const auto generation, last_generation(c));
  LATHE_TRY(const auto all, endpoints(c));
  json::Array out;
  for (const auto& endpoint : all) {
    LATHE_TRY(const auto served, deployments(c, endpoint.name));
    json::Array list;
    for (const auto& deployment : served)
      if (deployment.served) {
        auto one = desired_deployment(deployment.name, deployment.spec);
        if (const auto& collector = deployment.spec.data_collector) one.as_object()["capture"] = desired_capture(*collector);
        one.as_object()["asked"] = deployment.generation;
        list.push_back(std::move(one));
      }
    LATHE_TRY(auto keys, known_keys(endpoint));
    json::Object one{{"name", endpoint.name},
                     {"keys", std::move(keys)},
                     {"traffic", json::to_json(endpoint.traffic)},
                     {"deployments", std::move(list)}};
    if (!endpoint.mirror_traffic.empty()) one["mirror"] = json::to_json(endpoint.mirror_traffic);
    add_access(endpoint.access, one);
    out.push_back(std::move(one));
  }
  return json::Value(json::Object{{"generation", generation}, {"endpoints", std::move(out)}});
}

}  // namespace lathe::serving
