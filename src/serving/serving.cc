#include "serving/serving.h"

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "process/log_follow.h"

namespace lathe::serving {
namespace {

/// For keys and traffic, which hold at once, or as soon as the model that is being read is loaded.
constexpr std::chrono::milliseconds kQuick{2000};

std::vector<std::string> names_of(const std::vector<Deployment>& deployments) {
  std::vector<std::string> out;
  for (const auto& each : deployments) out.push_back(each.name);
  return out;
}

/// Fields that say how an endpoint behaves: shared by create and update.
/// `guarded`: percents of the traffic may be missing.
Result<void> read_endpoint_fields(const json::Object& document, const std::vector<std::string>& deployments, bool guarded,
                                  Endpoint& endpoint, json::Report& report) {
  LATHE_CHECK(assets::check_fields(document, {"name", "auth_mode", "traffic", "mirror_traffic", "description", "tags", "kind", "location", "cors",
                                              "rate_limit"},
                                   {{"identity", "the data plane runs as the server's account"},
                                    {"compute", "predictions are answered on the server's machine"},
                                    {"public_network_access", "--host decides who reaches it"},
                                    {"properties", "Lathe keeps tags, not properties"}},
                                   report));
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  if (description) endpoint.description = *description;
  if (document.contains("tags")) {
    LATHE_TRY(endpoint.tags, assets::read_tags(document));
  }
  LATHE_CHECK(read_access(document, endpoint.access, report));
  LATHE_TRY(const auto* traffic, json::get_object(document, "traffic"));
  if (traffic != nullptr) {
    LATHE_TRY(endpoint.traffic, read_traffic(*traffic, deployments, guarded ? endpoint.traffic : Traffic{}));
  }
  LATHE_TRY(const auto* mirror, json::get_object(document, "mirror_traffic"));
  if (mirror != nullptr) {
    LATHE_TRY(endpoint.mirror_traffic, read_mirror(*mirror, deployments));
  }
  if (traffic != nullptr || mirror != nullptr) LATHE_CHECK(check_mirror(endpoint.mirror_traffic, endpoint.traffic));
  return {};
}

/// Says that a change leaves the endpoint without traffic.
void warn_of_silence(const Traffic& before, const Traffic& after, json::Report& report) {
  const auto any = [](const Traffic& traffic) {
    return std::any_of(traffic.begin(), traffic.end(), [](const auto& each) { return each.second > 0; });
  };
  if (any(before) && !any(after))
    report.push_back({"traffic", "honoured", "no deployment gets requests any longer: the endpoint answers 503, but to those that name a deployment"});
}

/// Writes the endpoint's row, and keeps a revision where its traffic has changed.
Result<void> change_traffic(db::Connection& c, const Endpoint& before, Endpoint endpoint, const std::string& who) {
  const bool shares = endpoint.traffic != before.traffic;
  if (!shares && endpoint.mirror_traffic == before.mirror_traffic) return update_endpoint(c, endpoint);
  // Whoever asks last is right.
  endpoint.rollback.reset();
  const bool begins = endpoint.shift && (!before.shift || before.shift->started_us != endpoint.shift->started_us);
  if (!begins) end_watch(endpoint, "the traffic was changed");
  LATHE_CHECK(update_endpoint(c, endpoint));
  const auto what = shares ? "traffic: " + print_traffic(endpoint.traffic)
                           : "mirrored traffic: " + print_traffic(endpoint.mirror_traffic);
  return keep_revision(c, endpoint.name, what, who, from_micros(endpoint.updated_us));
}

void forget_log(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace

Result<void> check_name(const std::string& field, const std::string& name) {
  const auto good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; };
  if (!name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), good) &&
      std::isalnum(static_cast<unsigned char>(name.front())) != 0)
    return {};
  return fail(Code::invalid, field + ": must be 1 to 64 letters, digits, '-' and '_', beginning with a letter or digit, not \"" +
                                 printable(name) + "\"");
}

Serving::Serving(db::Database& db, assets::Models& models, compute::Compute& compute, DataPlaneOptions options)
    : db_(db), models_(models), compute_(compute), plane_(std::move(options), [this](const Reported& reported) { return settle(reported); }) {
  compute_.on_gpus_of_changed([this] { gpus_.wake(); });
}

Result<void> Serving::begin() {
  remember_gpus();
  LATHE_CHECK(publish());
  return plane_.begin();
}

Result<void> Serving::publish() {
  // One at a time, and read inside: an older document never follows a newer one.
  const std::lock_guard lock(publishing_);
  std::vector<compute::Reservation> kept;
  LATHE_TRY(auto document, db_.read([&](db::Connection& c) -> Result<json::Value> {
    LATHE_TRY(const auto all, every_deployment(c));
    kept.clear();
    for (const auto& each : all)
      if (each.served && !each.spec.instance_type.empty())
        kept.push_back({each.endpoint + "/" + each.name, each.spec.instance_type, each.spec.most_instances()});
    return desired_state(c);
  }));
  compute_.reserve(kept, gpus_used_);
  published_ = std::make_shared<const json::Object>(document.as_object());
  auto given = gpus_given_;
  add_gpus(document.as_object());
  if (add_cluster_) add_cluster_(document.as_object());
  if (auto handed = plane_.set_desired(document); !handed) {
    gpus_given_ = std::move(given);
    return handed;
  }
  handed_over_ = std::move(document.as_object());
  return {};
}

Result<std::int64_t> Serving::commit(const std::function<Result<void>(db::Connection&, std::int64_t)>& change) {
  LATHE_TRY(const auto generation, db_.write([&](db::Connection& c) -> Result<std::int64_t> {
    LATHE_TRY(const auto next, next_generation(c));
    LATHE_CHECK(change(c, next));
    return next;
  }));
  LATHE_CHECK(publish());
  return generation;
}

void Serving::await_generation(std::int64_t generation) {
  const auto deadline = Clock::now() + kQuick;
  for (;;) {
    const auto seen = plane_.reports();
    if (plane_.reported().shown >= generation || Clock::now() >= deadline) return;
    plane_.wait_past(seen, deadline);
  }
}

bool Serving::settle(const Reported& reported) {
  if (take_used(reported)) unpublished_ = true;
  bool changed = false;
  const auto settle_one = [&](db::Connection& c, Deployment deployment, const ReportedDeployment& found) -> Result<void> {
    const auto time = micros(now());
    deployment.updated_us = time;
    if (found.state == "ready") {
      deployment.state = "Succeeded";
      deployment.error.clear();
      if (deployment.all_traffic) {
        LATHE_TRY(auto endpoint, find_endpoint(c, deployment.endpoint));
        endpoint.traffic = {{deployment.name, 100}};
        endpoint.mirror_traffic.erase(deployment.name);
        endpoint.updated_us = time;
        LATHE_CHECK(update_endpoint(c, endpoint));
        changed = true;
      }
    } else {
      deployment.state = "Failed";
      deployment.error = found.error;
      deployment.served = deployment.previous.has_value();
      if (deployment.previous) deployment.spec = *deployment.previous;
      changed = true;
    }
    deployment.previous.reset();
    deployment.all_traffic = false;
    LATHE_CHECK(serving::put_deployment(c, deployment));
    LATHE_TRY(const auto endpoint, find_endpoint(c, deployment.endpoint));
    if (endpoint.rollback) {
      LATHE_CHECK(finish_rollback(c, endpoint, from_micros(time)));
      changed = true;
    } else {
      const auto what = "deployment " + deployment.name + ": " + deployment.spec.model;
      LATHE_CHECK(keep_revision(c, deployment.endpoint, what, deployment.changed_by, from_micros(time)));
    }
    log::info("a deployment is settled endpoint={} deployment={} state={}", deployment.endpoint, deployment.name, deployment.state);
    return {};
  };
  const auto open = db_.read([](db::Connection& c) { return unsettled_deployments(c); });
  if (!open) return open.error().code != Code::unavailable;
  if (open->empty() && !unpublished_) return true;
  auto settled = db_.write([&](db::Connection& c) -> Result<void> {
    changed = false;
    LATHE_TRY(const auto waiting, unsettled_deployments(c));
    for (const auto& deployment : waiting) {
      const auto* found = reported.find(deployment.endpoint, deployment.name);
      if (waits(deployment)) continue;
      if (found == nullptr || found->generation < deployment.generation || found->state == "loading") continue;
      LATHE_CHECK(settle_one(c, deployment, *found));
    }
    if (!changed) return {};
    LATHE_CHECK(next_generation(c));
    return {};
  });
  unpublished_ = unpublished_ || (settled && changed);
  if (settled && unpublished_) settled = publish();
  if (settled) {
    unpublished_ = false;
    return true;
  }
  log::error("the data plane's report was not taken error=\"{}\"", settled.error().message);
  return settled.error().code != Code::unavailable;
}

EndpointView Serving::view(const Endpoint& endpoint, const std::vector<Deployment>& deployments) const {
  EndpointView out;
  out.name = endpoint.name;
  out.description = endpoint.description;
  out.tags = endpoint.tags;
  out.traffic = endpoint.traffic;
  out.mirror_traffic = endpoint.mirror_traffic;
  if (endpoint.access.auth_mode) out.auth_mode = *endpoint.access.auth_mode;
  out.cors = endpoint.access.cors;
  out.rate_limit = endpoint.access.rate_limit;
  const auto url = plane_.url();
  const bool python = std::any_of(deployments.begin(), deployments.end(), [](const auto& each) { return each.spec.python.has_value(); });
  out.scoring_uri = url + (python ? "/endpoints/" + endpoint.name + "/score" : "/v2/models/" + endpoint.name + "/infer");
  out.invocations_uri = url + "/endpoints/" + endpoint.name + "/invocations";
  out.grpc_uri = plane_.grpc();
  out.deployments = names_of(deployments);
  if (const auto& shift = endpoint.shift)
    out.shift = ShiftView{shift->state, shift->why, shift->deployment, shift->guard, shift->before,
                          to_iso8601(from_micros(shift->ends_us)), shift->total().requests};
  if (endpoint.rollback) {
    std::string names;
    for (const auto& each : endpoint.rollback->deployments) names += (names.empty() ? "" : ", ") + each;
    out.rollback = "to revision " + std::to_string(endpoint.rollback->revision) + ", as soon as these are ready: " + names;
  }
  out.creation_context = {endpoint.created_by, to_iso8601(from_micros(endpoint.created_us))};
  return out;
}

DeploymentView Serving::view(const Deployment& deployment) const {
  DeploymentView out;
  out.name = deployment.name;
  out.endpoint_name = deployment.endpoint;
  out.model = deployment.spec.model;
  out.format = deployment.spec.format;
  out.instance_count = deployment.spec.instance_count;
  out.instance_type = deployment.spec.instance_type;
  if (auto words = compute_.reserved(deployment.endpoint + "/" + deployment.name); !words.empty()) out.reserved = std::move(words);
  out.request_settings.request_timeout_ms = deployment.spec.request_timeout_ms;
  if (const auto& python = deployment.spec.python) {
    out.request_settings.max_queue_wait_ms = python->max_queue_wait_ms;
    out.request_settings.max_concurrent_requests_per_instance = python->workers_per_instance;
    if (!python->script.empty()) out.scoring_script = python->script;
    out.environment = python->environment_words;
  }
  out.model_config = deployment.spec.model_config;
  out.data_collector = deployment.spec.data_collector;
  out.scale_settings = deployment.spec.scale;
  out.provisioning_state = deployment.state;
  if (!deployment.error.empty()) out.error = deployment.error;
  const auto reported = plane_.reported();
  const auto* found = reported.find(deployment.endpoint, deployment.name);
  if (found != nullptr && !found->runtime.empty()) out.runtime = found->runtime;
  if (found != nullptr && deployment.served) out.instances = found->instances;
  if (!deployment.served)
    out.serving_state = deployment.error.empty() ? "unloaded" : "failed";
  else
    out.serving_state = found != nullptr && !found->state.empty() ? found->state : waits(deployment) ? "waiting" : "unknown";
  // It failed since, as when the data plane was started again.
  if (!out.error && found != nullptr && !found->error.empty())
    out.error = found->error + (found->tries_again ? "" : " (deploy it again once this is mended)");
  out.description = deployment.description;
  out.tags = deployment.tags;
  out.creation_context = {deployment.created_by, to_iso8601(from_micros(deployment.created_us))};
  return out;
}

Result<EndpointView> Serving::put_endpoint(const json::Object& document, const http::Principal& who, bool strict) {
  LATHE_TRY(const auto name, json::need_string(document, "name"));
  LATHE_CHECK(check_name("name", name));
  json::Report report;
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t) -> Result<void> {
    report.clear();
    auto found = find_endpoint(c, name);
    if (!found && found.error().code != Code::not_found) return fail(found.error());
    const auto time = micros(now());
    Endpoint endpoint = found ? *found : Endpoint{};
    if (!found) {
      endpoint.name = name;
      endpoint.primary_key = new_key();
      endpoint.secondary_key = new_key();
      endpoint.created_by = who.user;
      endpoint.created_us = time;
    }
    endpoint.updated_us = time;
    LATHE_TRY(const auto existing, deployments(c, name));
    LATHE_CHECK(read_endpoint_fields(document, names_of(existing), false, endpoint, report));
    if (found) warn_of_silence(found->traffic, endpoint.traffic, report);
    LATHE_CHECK(json::refuse_if_strict(report, strict));
    if (!found) return insert_endpoint(c, endpoint);
    return change_traffic(c, *found, std::move(endpoint), who.user);
  }));
  await_generation(generation);
  LATHE_TRY(auto out, endpoint(name));
  if (!report.empty()) out.report = std::move(report);
  return out;
}

Result<EndpointView> Serving::patch_endpoint(const std::string& name, const json::Object& changes,
                                             const http::Principal& who) {
  json::Report report;
  LATHE_TRY(const auto change, GuardedChange::read(changes));
  std::vector<Counted> counts;
  if (change.guard) {
    LATHE_TRY(counts, statistics(name));
  }
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t) -> Result<void> {
    report.clear();
    LATHE_TRY(const auto found, find_endpoint(c, name));
    auto endpoint = found;
    LATHE_TRY(const auto existing, deployments(c, name));
    LATHE_CHECK(read_endpoint_fields(change.changes, names_of(existing), change.guard.has_value(), endpoint, report));
    warn_of_silence(found.traffic, endpoint.traffic, report);
    for (const auto& [deployment, percent] : changes.contains("traffic") ? endpoint.traffic : Traffic{})
      for (const auto& each : existing)
        if (each.name == deployment && percent > 0 && !each.served)
          return fail(Code::conflict, "traffic." + deployment + ": the deployment answers nothing: " +
                                          (each.error.empty() ? "it was unloaded" : "it failed: " + each.error));
    endpoint.updated_us = micros(now());
    if (change.guard) LATHE_CHECK(begin_watch(change, counts, found, endpoint, who.user));
    return change_traffic(c, found, std::move(endpoint), who.user);
  }));
  await_generation(generation);
  if (change.guard) watch_.wake();
  LATHE_TRY(auto out, endpoint(name));
  if (!report.empty()) out.report = std::move(report);
  return out;
}

Result<EndpointView> Serving::endpoint(const std::string& name) {
  return db_.read([&](db::Connection& c) -> Result<EndpointView> {
    LATHE_TRY(const auto found, find_endpoint(c, name));
    LATHE_TRY(const auto existing, deployments(c, name));
    return view(found, existing);
  });
}

Result<std::vector<EndpointView>> Serving::all_endpoints() {
  return db_.read([&](db::Connection& c) -> Result<std::vector<EndpointView>> {
    LATHE_TRY(const auto all, endpoints(c));
    std::vector<EndpointView> out;
    for (const auto& each : all) {
      LATHE_TRY(const auto existing, deployments(c, each.name));
      out.push_back(view(each, existing));
    }
    return out;
  });
}

Result<void> Serving::remove_endpoint(const std::string& name) {
  std::vector<std::string> gone;
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t) -> Result<void> {
    LATHE_CHECK(find_endpoint(c, name));
    LATHE_TRY(const auto existing, deployments(c, name));
    gone = names_of(existing);
    return delete_endpoint(c, name);
  }));
  await_generation(generation);
  for (const auto& each : gone) forget_log(plane_.log_folder(name, each));
  return {};
}


Result<DeploymentView> Serving::put_deployment(const std::string& endpoint, const json::Object& document,
                                               const Deployer& deployer, const Wish& wish) {
  LATHE_CHECK(db_.read([&](db::Connection& c) { return find_endpoint(c, endpoint); }));
  json::Report report;
  Deployment wanted;
  wanted.endpoint = endpoint;
  LATHE_TRY(wanted.name, json::need_string(document, "name"));
  LATHE_CHECK(check_name("name", wanted.name));
  LATHE_TRY(const auto named, json::get_string(document, "endpoint_name"));
  if (named && *named != endpoint)
    return fail(Code::invalid, "endpoint_name: is \"" + printable(*named) + "\", but the request goes to \"" + endpoint + "\"");
  const auto* model = json::find(document, "model");
  if (model == nullptr) return fail(Code::invalid, "model: is missing: give azureml:NAME:VERSION or azureml:NAME@latest");
  if (!model->is_string())
    return fail(Code::invalid, "model: must be a registered model (azureml:NAME:VERSION): register it first with model create");
  const bool script = json::find(document, "code_configuration") != nullptr;
  LATHE_CHECK(resolve_model(std::string(json::view(model->get_string())), wanted.spec, script));
  LATHE_CHECK(read_settings(document, wanted, report));
  if (wanted.spec.python) LATHE_CHECK(read_python(document, wanted, deployer, wish.wait, report));
  LATHE_CHECK(json::refuse_if_strict(report, wish.strict));
  return apply(std::move(wanted), std::move(report), wish, deployer.who.user);
}

Result<DeploymentView> Serving::patch_deployment(const std::string& endpoint, const std::string& name,
                                                 const json::Object& changes, const Deployer& deployer,
                                                 const Wish& wish) {
  LATHE_TRY(auto wanted, db_.read([&](db::Connection& c) { return find_deployment(c, endpoint, name); }));
  json::Report report;
  LATHE_TRY(const auto model, json::get_string(changes, "model"));
  const bool script = wanted.spec.format == "script" || json::find(changes, "code_configuration") != nullptr;
  if (model || (script && wanted.spec.format != "script"))
    LATHE_CHECK(resolve_model(model.value_or(wanted.spec.model), wanted.spec, script));
  LATHE_CHECK(read_settings(changes, wanted, report));
  if (wanted.spec.python) LATHE_CHECK(read_python(changes, wanted, deployer, wish.wait, report));
  LATHE_CHECK(json::refuse_if_strict(report, wish.strict));
  return apply(std::move(wanted), std::move(report), wish, deployer.who.user);
}

Result<DeploymentView> Serving::apply(Deployment wanted, json::Report report, const Wish& wish, const std::string& who) {
  const auto& collector = wanted.spec.data_collector;
  if (collector)
    for (const auto& [name, collection] : collector->collections) {
      // Data that is registered can be read, even before the first prediction.
      const auto& assets = models_.assets();
      LATHE_TRY(const auto folder, assets.datastore_path("workspaceblobstore", collection_path(wanted.endpoint, wanted.name, name)));
      LATHE_CHECK(make_folder(folder, 0755));
    }
  LATHE_CHECK(commit([&](db::Connection& c, std::int64_t generation) -> Result<void> {
    if (collector) LATHE_CHECK(register_collections(c, *collector, wanted.endpoint, wanted.name, who));
    if (waits(wanted)) {  // nothing has come of the change before this one
      LATHE_TRY(auto found, find_deployment(c, wanted.endpoint, wanted.name));
      if (found.previous) {
        found.spec = *std::exchange(found.previous, std::nullopt);
        found.state = "Succeeded";
        LATHE_CHECK(serving::put_deployment(c, found));
      }
    }
    return begin_change(c, wanted, who, wish.all_traffic, generation);
  }));
  LATHE_TRY(auto out, await(wanted.endpoint, wanted.name, wish.wait));
  if (!report.empty()) out.report = std::move(report);
  return out;
}

Result<DeploymentView> Serving::await(const std::string& endpoint, const std::string& name, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    const auto seen = plane_.reports();  // before the read, so that no report is missed
    LATHE_TRY(auto now_is, deployment(endpoint, name));
    const bool open = now_is.provisioning_state == "Creating" || now_is.provisioning_state == "Updating";
    if (!open) {
      // The traffic that came with it reaches the data plane a moment later.
      LATHE_TRY(const auto generation, db_.read([](db::Connection& c) { return last_generation(c); }));
      await_generation(generation);
      return now_is;
    }
    if (Clock::now() >= deadline) return now_is;
    plane_.wait_past(seen, deadline);
  }
}

Result<DeploymentView> Serving::deployment(const std::string& endpoint, const std::string& name) {
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return find_deployment(c, endpoint, name); }));
  return view(found);
}

Result<std::vector<DeploymentView>> Serving::all_deployments(const std::string& endpoint) {
  LATHE_TRY(const auto all, db_.read([&](db::Connection& c) -> Result<std::vector<Deployment>> {
    LATHE_CHECK(find_endpoint(c, endpoint));
    return deployments(c, endpoint);
  }));
  std::vector<DeploymentView> out;
  for (const auto& each : all) out.push_back(view(each));
  return out;
}

Result<void> Serving::remove_deployment(const std::string& endpoint, const std::string& name, const http::Principal& who) {
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t) -> Result<void> {
    LATHE_CHECK(find_deployment(c, endpoint, name));
    LATHE_TRY(auto holder, find_endpoint(c, endpoint));
    const auto share = holder.traffic.find(name);
    if (share != holder.traffic.end() && share->second > 0)
      return fail(Code::conflict, "deployment \"" + name + "\" gets " + std::to_string(share->second) +
                                      " % of the traffic: give it to another, or set it to 0, first");
    holder.traffic.erase(name);
    holder.mirror_traffic.erase(name);
    end_watch(holder, "deployment " + name + " was deleted");
    holder.updated_us = micros(now());
    LATHE_CHECK(update_endpoint(c, holder));
    LATHE_CHECK(delete_deployment(c, endpoint, name));
    return keep_revision(c, endpoint, "deployment " + name + " was deleted", who.user, from_micros(holder.updated_us));
  }));
  await_generation(generation);
  forget_log(plane_.log_folder(endpoint, name));
  return {};
}

Result<std::string> Serving::log(const std::string& endpoint, const std::string& name, std::size_t lines) {
  constexpr std::size_t kMostBytes = std::size_t{8} << 20;
  LATHE_CHECK(db_.read([&](db::Connection& c) { return find_deployment(c, endpoint, name); }));
  const auto folder = plane_.log_folder(endpoint, name);
  if (!std::filesystem::exists(folder / "log")) return std::string{};
  LATHE_TRY(auto text, process::last_lines(folder, lines, kMostBytes));
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  return text;
}

}  // namespace lathe::serving
