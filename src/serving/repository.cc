#include "base/text.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

constexpr std::chrono::seconds kLoadLimit{60};

/// Triton's load and unload. What a request says beyond the name is refused, since files come from the registry alone.
Result<Response> change_loaded(Serving& serving, const Call& call, bool loaded) {
  if (!trim(call.body).empty()) {
    LATHE_TRY(const auto body, json::parse_object(call.body));
    LATHE_TRY(const auto* parameters, json::get_object(body, "parameters"));
    static const json::Object kNone;
    for (const auto& member : parameters != nullptr ? *parameters : kNone) {
      const std::string name(member.key().data(), member.key().size());
      if (name != "unload_dependents")
        return fail(Code::invalid, "parameters." + printable(name) +
                                       ": models come from the registry: register a version and deploy it in place of this");
    }
  }
  LATHE_CHECK(serving.set_loaded(std::string(call.param("model")), loaded, call.principal));
  return http::json_response(json::Object{});
}

}  // namespace

Result<void> Serving::set_loaded(const std::string& model, bool loaded, const http::Principal& who) {
  const auto dot = model.rfind('.');
  const auto endpoint = model.substr(0, dot);
  const auto only = dot == std::string::npos ? std::string{} : model.substr(dot + 1);
  std::vector<std::string> changed;
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t generation) -> Result<void> {
    changed.clear();
    LATHE_TRY(const auto all, deployments(c, endpoint));
    LATHE_CHECK(find_endpoint(c, endpoint));
    if (!only.empty()) LATHE_CHECK(find_deployment(c, endpoint, only));
    for (auto deployment : all) {
      if (!only.empty() && deployment.name != only) continue;
      if (deployment.previous)
        return fail(Code::conflict, "deployment \"" + deployment.name + "\" is being updated: wait until it is ready or has failed");
      if (loaded == deployment.served) continue;
      changed.push_back(deployment.name);
      deployment.served = loaded;
      deployment.state = loaded ? "Creating" : "Succeeded";
      deployment.error.clear();
      deployment.generation = generation;
      deployment.changed_by = who.user;
      deployment.updated_us = micros(now());
      LATHE_CHECK(serving::put_deployment(c, deployment));
    }
    LATHE_TRY(auto holder, find_endpoint(c, endpoint));
    end_watch(holder, model + (loaded ? " was loaded" : " was unloaded"));
    LATHE_CHECK(update_endpoint(c, holder));
    return loaded ? Result<void>{} : keep_revision(c, endpoint, model + " was unloaded", who.user, now());
  }));
  await_generation(generation);
  for (const auto& name : changed) {
    if (!loaded) break;
    LATHE_TRY(const auto now_is, await(endpoint, name, kLoadLimit));
    if (now_is.provisioning_state == "Failed") return fail(Code::invalid, now_is.error.value_or("the model cannot be loaded"));
  }
  return {};
}

void add_repository_routes(http::Router& router, Serving& serving) {
  for (const bool loaded : {true, false})
    router.add({.id = loaded ? "repository_model_load" : "repository_model_unload", .method = Method::post,
                .path = std::string("/v2/repository/models/{model}/") + (loaded ? "load" : "unload"),
                .right = Right::administer,
                .summary = loaded ? "Serves again what was unloaded: an endpoint's deployments, or ENDPOINT.DEPLOYMENT."
                                  : "Takes an endpoint's deployments, or ENDPOINT.DEPLOYMENT, out of what is served.",
                .waits = true},
               [&serving, loaded](Call& call) { return change_loaded(serving, call, loaded); });
}

}  // namespace lathe::serving
