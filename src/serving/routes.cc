#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

constexpr std::int64_t kMostWaitS = 600;
constexpr std::size_t kLogLines = 5000;

std::string text(const Call& call, std::string_view name) { return std::string(call.param(name)); }

bool is_set(const Call& call, std::string_view name) { return call.query(name) == "true"; }

/// ?all_traffic=true, ?strict=true, ?wait_s=N (0: answer at once).
Result<Serving::Wish> read_wish(const Call& call) {
  Serving::Wish wish{is_set(call, "all_traffic"), is_set(call, "strict")};
  const auto wait = call.query("wait_s");
  if (!wait) return wish;
  std::int64_t seconds = -1;
  const auto [end, error] = std::from_chars(wait->data(), wait->data() + wait->size(), seconds);
  if (error != std::errc{} || end != wait->data() + wait->size() || seconds < 0)
    return fail(Code::invalid, "wait_s: must be a whole number of seconds, not \"" + *wait + "\"");
  wish.wait = std::chrono::seconds{std::min(seconds, kMostWaitS)};
  return wish;
}

Result<std::size_t> read_count(const Call& call, const std::string& name, std::size_t absent) {
  const auto given = call.query(name);
  if (!given) return absent;
  std::size_t count = 0;
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), count);
  if (error != std::errc{} || end != given->data() + given->size() || count == 0)
    return fail(Code::invalid, name + ": must be a whole number above 0, not \"" + *given + "\"");
  return count;
}

template <class T>
json::Value list_of(const std::vector<T>& values) {
  return json::Object{{"value", json::to_json(values)}};
}

void add_endpoint_routes(http::Router& router, Serving& serving, const std::string& base) {
  router.add_json({.id = "online_endpoint_create", .method = Method::post, .path = base, .right = Right::write,
                   .summary = "Makes an endpoint, or changes one; it keeps its keys and traffic."},
                  [&serving](Call& call) -> Result<EndpointView> {
                    LATHE_TRY(const auto body, call.json_body());
                    return serving.put_endpoint(body, call.principal, is_set(call, "strict"));
                  },
                  201);
  router.add({.id = "online_endpoint_list", .method = Method::get, .path = base, .right = Right::read,
              .summary = "All endpoints."},
             [&serving](Call&) -> Result<Response> {
               LATHE_TRY(const auto all, serving.all_endpoints());
               return http::json_response(list_of(all));
             });
  router.add_json({.id = "online_endpoint_show", .method = Method::get, .path = base + "/{name}", .right = Right::read,
                   .summary = "One endpoint with its scoring URI."},
                  [&serving](Call& call) { return serving.endpoint(text(call, "name")); });
  router.add_json({.id = "online_endpoint_update", .method = Method::patch, .path = base + "/{name}", .right = Right::write,
                   .summary = "Changes traffic, description or tags."},
                  [&serving](Call& call) -> Result<EndpointView> {
                    LATHE_TRY(const auto body, call.json_body());
                    return serving.patch_endpoint(text(call, "name"), body, call.principal);
                  });
  router.add_json({.id = "online_endpoint_delete", .method = Method::del, .path = base + "/{name}", .right = Right::write,
                   .summary = "Deletes an endpoint with its deployments."},
                  [&serving](Call& call) { return serving.remove_endpoint(text(call, "name")); });
  router.add_json({.id = "online_endpoint_statistics", .method = Method::get, .path = base + "/{name}/statistics",
                   .right = Right::read, .summary = "Requests, errors and times of the endpoint's deployments."},
                  [&serving](Call& call) { return serving.statistics_of(text(call, "name")); });
  router.add({.id = "online_endpoint_revisions", .method = Method::get, .path = base + "/{name}/revisions", .right = Right::read,
              .summary = "What the endpoint served after each change, newest first; the last 20."},
             [&serving](Call& call) -> Result<Response> {
               LATHE_TRY(const auto all, serving.all_revisions(text(call, "name")));
               return http::json_response(list_of(all));
             });
  router.add_json({.id = "online_endpoint_rollback", .method = Method::post, .path = base + "/{name}/rollback",
                   .right = Right::write,
                   .summary = "Brings back models, settings and traffic of {\"revision\": N}, else of the one before.",
                   .waits = true},
                  [&serving](Call& call) -> Result<EndpointView> {
                    LATHE_TRY(const auto body, call.body.empty() ? Result<json::Object>(json::Object{}) : call.json_body());
                    for (const auto& member : body)
                      if (member.key() != "revision")
                        return fail(Code::invalid, unknown_name("field", std::string(member.key()), {"revision"}));
                    LATHE_TRY(const auto number, json::get_int(body, "revision"));
                    LATHE_TRY(const auto wish, read_wish(call));
                    return serving.roll_back(text(call, "name"), number, call.principal.user, wish.wait);
                  });
  router.add_json({.id = "online_endpoint_credentials", .method = Method::get, .path = base + "/{name}/credentials",
                   .right = Right::write, .summary = "The endpoint's two keys, or a new token, as its auth_mode says."},
                  [&serving](Call& call) { return serving.credentials(text(call, "name")); });
  router.add_json({.id = "online_endpoint_token", .method = Method::post, .path = base + "/{name}/token",
                   .right = Right::write, .summary = "A token for an endpoint with auth_mode aml_token; it ends by itself."},
                  [&serving](Call& call) { return serving.token(text(call, "name")); });
  router.add_json({.id = "online_endpoint_regenerate_keys", .method = Method::post, .path = base + "/{name}/regenerate-keys",
                   .right = Right::write, .summary = "Makes a new primary or secondary key; the old one ends at once."},
                  [&serving](Call& call) -> Result<Credentials> {
                    LATHE_TRY(const auto body, call.json_body());
                    LATHE_TRY(const auto key_type, json::need_string(body, "key_type"));
                    return serving.regenerate(text(call, "name"), key_type);
                  });
  router.add({.id = "online_endpoint_invoke", .method = Method::post, .path = base + "/{name}/invoke", .right = Right::write,
              .summary = "Sends the body to the endpoint and answers what it answers; ?deployment= picks one.",
              .body_limit = std::size_t{64} << 20, .waits = true},
             [&serving](Call& call) -> Result<Response> {
               auto deployment = call.query("deployment");
               if (const auto header = call.header("azureml-model-deployment"); !deployment && header)
                 deployment = std::string(*header);
               const auto type = call.header("content-type");
               return serving.invoke(text(call, "name"), deployment.value_or(""), call.body, std::string(type.value_or("")));
             });
}

void add_deployment_routes(http::Router& router, Serving& serving, const std::string& base) {
  router.add_json({.id = "online_deployment_create", .method = Method::post, .path = base, .right = Right::write,
                   .summary = "Makes a deployment, or gives one a new model or settings; answers when it is ready or failed.",
                   .waits = true},
                  [&serving](Call& call) -> Result<DeploymentView> {
                    LATHE_TRY(const auto body, call.json_body());
                    LATHE_TRY(const auto wish, read_wish(call));
                    return serving.put_deployment(text(call, "name"), body, {call.principal, call.is_local()}, wish);
                  },
                  201);
  router.add({.id = "online_deployment_list", .method = Method::get, .path = base, .right = Right::read,
              .summary = "The deployments of an endpoint."},
             [&serving](Call& call) -> Result<Response> {
               LATHE_TRY(const auto all, serving.all_deployments(text(call, "name")));
               return http::json_response(list_of(all));
             });
  router.add_json({.id = "online_deployment_show", .method = Method::get, .path = base + "/{deployment}", .right = Right::read,
                   .summary = "One deployment with its state."},
                  [&serving](Call& call) { return serving.deployment(text(call, "name"), text(call, "deployment")); });
  router.add_json({.id = "online_deployment_update", .method = Method::patch, .path = base + "/{deployment}",
                   .right = Right::write, .summary = "Changes model or settings; the old model answers until the new one is ready.",
                   .waits = true},
                  [&serving](Call& call) -> Result<DeploymentView> {
                    LATHE_TRY(const auto body, call.json_body());
                    LATHE_TRY(const auto wish, read_wish(call));
                    return serving.patch_deployment(text(call, "name"), text(call, "deployment"), body,
                                                    {call.principal, call.is_local()}, wish);
                  });
  router.add({.id = "online_deployment_logs", .method = Method::get, .path = base + "/{deployment}/logs", .right = Right::read,
              .summary = "The last ?lines= lines (5000) that the deployment's Python printed."},
             [&serving](Call& call) -> Result<Response> {
               LATHE_TRY(const auto lines, read_count(call, "lines", kLogLines));
               LATHE_TRY(auto log, serving.log(text(call, "name"), text(call, "deployment"), lines));
               Response response;
               response.type = "text/plain; charset=utf-8";
               response.body = std::move(log);
               return response;
             });
  router.add_json({.id = "online_deployment_delete", .method = Method::del, .path = base + "/{deployment}",
                   .right = Right::write, .summary = "Deletes a deployment that gets no traffic."},
                  [&serving](Call& call) {
                    return serving.remove_deployment(text(call, "name"), text(call, "deployment"), call.principal);
                  });
}

}  // namespace

void add_routes(http::Router& router, Serving& serving) {
  add_endpoint_routes(router, serving, "/api/v1/online-endpoints");
  add_deployment_routes(router, serving, "/api/v1/online-endpoints/{name}/deployments");
  add_repository_routes(router, serving);
}

}  // namespace lathe::serving
