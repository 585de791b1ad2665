#include "infer/service.h"

#include <boost/asio/post.hpp>

#include "base/text.h"
#include "base/version.h"
#include "infer/predict.h"
#include "infer/protocols/open_inference.h"

namespace lathe::infer {
namespace {

/// A request that is expected to take longer leaves the I/O thread.
constexpr std::chrono::milliseconds kQuick{1};

/// The key of "Bearer KEY", or an empty text.
std::string_view bearer_key(std::string_view header) {
  constexpr std::string_view kScheme = "Bearer ";
  if (header.size() <= kScheme.size() || !http::equal_ignoring_case(header.substr(0, kScheme.size()), kScheme))
    return {};
  return trim(header.substr(kScheme.size()));
}

std::string in_quotes(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

std::string metrics_text(const Catalog& catalog) {
  std::vector<std::pair<std::string, const Stats*>> rows;
  for (const auto& [name, endpoint] : catalog.endpoints)
    for (const auto& deployment : endpoint.deployments)
      rows.emplace_back("endpoint=\"" + name + "\",deployment=\"" + deployment->name + "\"", deployment->stats.get());
  std::string out =
      "# HELP lathe_infer_requests_total Predictions asked for, by HTTP status.\n"
      "# TYPE lathe_infer_requests_total counter\n";
  for (const auto& [labels, stats] : rows) stats->append_requests(out, labels);
  out +=
      "# HELP lathe_infer_request_duration_seconds Time to decode, run and encode, without waiting.\n"
      "# TYPE lathe_infer_request_duration_seconds histogram\n";
  for (const auto& [labels, stats] : rows) stats->append_durations(out, labels);
  return out;
}

}  // namespace

Service::Service(const CatalogHolder& catalog, int pool_threads)
    : catalog_(catalog),
      pool_(static_cast<std::size_t>(pool_threads)),
      post_([this](std::function<void()> work) { boost::asio::post(pool_, std::move(work)); }) {}

bool Service::admit(const http::Request& head, http::Reply& refusal) {
  Call call;
  return enter(head, call, refusal);
}

bool Service::enter(const http::Request& request, Call& call, http::Reply& reply) const {
  auto path = request.path;
  if (path.find('%') != std::string_view::npos) {
    call.decoded_path = url_decode(path);
    path = call.decoded_path;
  }
  const auto route = parse_route(path);
  if (!route) {
    refuse(reply, 404,
           "there is nothing at " + printable(path) +
               "; predictions are at /v2/models/ENDPOINT/infer and "
               "/endpoints/ENDPOINT/invocations");
    return false;
  }
  call.route = *route;
  if (request.method != route->method() && !(request.method == "HEAD" && route->method() == "GET")) {
    refuse(
        reply, 405,
        std::string(request.path) + " takes " + std::string(route->method()) + ", not " + std::string(request.method));
    reply.headers += "Allow: " + std::string(route->method()) + "\r\n";
    return false;
  }
  call.catalog = catalog_.load(std::memory_order_acquire);
  if (!route->needs_key()) return true;
  if (!find_endpoint(request, call, reply)) return false;

  const auto key = bearer_key(request.header("authorization"));
  if (key.empty()) {
    refuse(reply, 401,
           "endpoint " + in_quotes(call.endpoint->name) +
               " needs one of its keys: send the header "
               "'Authorization: Bearer KEY' ('lathe online-endpoint get-credentials' prints it)");
    reply.headers += "WWW-Authenticate: Bearer\r\n";
    return false;
  }
  if (!knows_key(call.endpoint->keys, key)) {
    refuse(reply, 403,
           "this is not one of the keys of endpoint " + in_quotes(call.endpoint->name) +
               "; 'lathe online-endpoint get-credentials' prints them");
    return false;
  }
  return true;
}

bool Service::find_endpoint(const http::Request& request, Call& call, http::Reply& reply) const {
  const auto& catalog = *call.catalog;
  auto name = call.route.endpoint;
  if (name.empty()) name = call.route.model;
  if (name.empty()) name = request.header("x-lathe-endpoint");
  if (name.empty()) {
    if (catalog.endpoints.size() != 1) {
      refuse(reply, catalog.endpoints.empty() ? 404 : 400,
             catalog.endpoints.empty() ? "there is no endpoint here yet"
                                       : "there are several endpoints here: use /endpoints/NAME" +
                                             std::string(request.path) + ", or the header x-lathe-endpoint");
      return false;
    }
    call.endpoint = &catalog.endpoints.begin()->second;
  } else {
    call.endpoint = catalog.find(name);
    // The model of the path may name one deployment: endpoint.deployment
    const auto model = call.route.model;
    const auto dot = model.rfind('.');
    if (!model.empty() && dot != std::string_view::npos && (call.endpoint == nullptr || name != model)) {
      const auto* const endpoint = catalog.find(model.substr(0, dot));
      if (endpoint != nullptr && (call.endpoint == nullptr || call.endpoint == endpoint)) {
        call.endpoint = endpoint;
        call.deployment = model.substr(dot + 1);
      }
    }
    const bool other =
        call.endpoint != nullptr && !model.empty() && call.deployment.empty() && model != call.endpoint->name;
    if (call.endpoint == nullptr || other) {
      refuse(reply, 404, "there is no endpoint named " + in_quotes(printable(other ? model : name)) + " here");
      return false;
    }
  }
  if (const auto named = request.header("azureml-model-deployment"); !named.empty()) call.deployment = named;
  return true;
}

bool Service::handle(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off) {
  Call call;
  if (!enter(request, call, reply)) return true;
  if (!call.route.needs_key()) {
    answer_open(call, reply);
    return true;
  }
  const bool predicts = call.route.operation >= Operation::infer;
  const auto* const picked = pick(call, predicts, reply);
  if (picked == nullptr) {
    if (call.route.operation == Operation::model_ready && reply.status == 503)
      reply.status = 400;  // as the protocol says
    return true;
  }
  const auto& deployment = **picked;
  if (const auto wanted = call.route.version; !wanted.empty() && wanted != deployment.desired.model.version) {
    refuse(reply, 404,
           "deployment " + in_quotes(deployment.name) + " of endpoint " + in_quotes(deployment.endpoint) +
               " serves version " + deployment.desired.model.version + ", not " + printable(wanted));
    return true;
  }
  if (predicts) return predict(request, call, *picked, reply, put_off);
  const auto name = call.route.model;
  if (call.route.operation == Operation::model_ready) {
    reply.body = "{\"name\":";
    append_text(reply.body, name);
    reply.body += ",\"ready\":true}";
  } else {
    reply.body = model_metadata(name, {deployment.desired.model.version}, *deployment.model);
  }
  return true;
}

void Service::answer_open(const Call& call, http::Reply& reply) const {
  switch (call.route.operation) {
    case Operation::live:
      reply.body = R"({"live":true})";
      break;
    case Operation::ready:
      reply.body = call.catalog->settled ? R"({"ready":true})" : R"({"ready":false})";
      if (!call.catalog->settled) reply.status = 400;
      break;
    case Operation::server_metadata:
      reply.body =
          std::string(R"({"name":"lathe-infer","version":")") + version() + R"(","extensions":["binary_tensor_data"]})";
      break;
    case Operation::version:
      reply.body = std::string(R"({"version":")") + version() + "\"}";
      break;
    case Operation::metrics:
      reply.content_type = "text/plain; version=0.0.4";
      reply.body = metrics_text(*call.catalog);
      break;
    default:
      reply.body = R"({"status":"ok"})";
  }
}

const std::shared_ptr<const Deployment>* Service::pick(const Call& call, bool counts, http::Reply& reply) const {
  const auto& endpoint = *call.endpoint;
  if (!call.deployment.empty()) {
    const auto* const found = endpoint.find(call.deployment);
    if (found == nullptr)
      refuse(reply, 404,
             "endpoint " + in_quotes(endpoint.name) + " has no deployment " + in_quotes(printable(call.deployment)) +
                 " that is ready");
    return found;
  }
  if (endpoint.split->empty()) {
    refuse(reply, 503,
           endpoint.deployments.empty()
               ? "endpoint " + in_quotes(endpoint.name) +
                     " has no deployment that is ready; 'lathe online-deployment list -e " + endpoint.name +
                     "' says what they wait for"
               : "no deployment of endpoint " + in_quotes(endpoint.name) +
                     " takes traffic; give it to one: lathe online-endpoint update -n " + endpoint.name +
                     " --traffic \"" + endpoint.deployments.front()->name + "=100\"");
    reply.headers += "Retry-After: 1\r\n";
    return nullptr;
  }
  return &endpoint.deployments[counts ? endpoint.split->pick() : endpoint.split->main()];
}

bool Service::predict(const http::Request& request, const Call& call,
                      const std::shared_ptr<const Deployment>& deployment, http::Reply& reply,
                      const std::function<http::Answer()>& put_off) {
  const auto operation = call.route.operation;
  if (deployment->cost.of(request.body.size()) < kQuick) {
    predict_now(operation, request, *deployment, reply);
    return true;
  }
  const auto limit = std::chrono::milliseconds(deployment->desired.request_timeout_ms);
  const auto answer = std::make_shared<http::Answer>(put_off());
  auto job = [operation, &request, deployment, answer, limit](bool late) {
    http::Reply out;
    if (late) {
      refuse(out, 504,
             "the request waited longer than " + std::to_string(limit.count()) +
                 " ms for its turn; raise the deployment's instances or request_settings.request_timeout_ms");
      deployment->stats->add(504, limit);
    } else {
      predict_now(operation, request, *deployment, out);
    }
    (*answer)(std::move(out));
  };
  if (deployment->lane.submit(post_, Lane::Clock::now() + limit, std::move(job))) return false;
  http::Reply full;
  refuse(full, 503,
         "the queue of deployment " + in_quotes(deployment->name) + " is full (" +
             std::to_string(deployment->desired.max_queue) + " requests wait); try again later");
  full.headers += "Retry-After: 1\r\n";
  deployment->stats->add(503, {});
  (*answer)(std::move(full));
  return false;
}

}  // namespace lathe::infer
