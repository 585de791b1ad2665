#include "infer/service.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/text.h"
#include "base/version.h"
#include "infer/cluster/relay.h"
#include "infer/grpc/reflection.h"
#include "infer/grpc/status.h"
#include "infer/grpc/wire.h"
#include "infer/http/cors.h"
#include "infer/http/inflate.h"
#include "infer/operator.h"
#include "infer/predict.h"
#include "infer/protocols/open_inference.h"
#include "infer/protocols/open_inference_grpc.h"
#include "infer/protocols/reports.h"
#include "infer/sleeping_model.h"
#include "infer/workers/ask_workers.h"
#include "infer/workers/python_model.h"

namespace lathe::infer {
namespace {

/// A request that is expected to take longer leaves the I/O thread.
constexpr std::chrono::milliseconds kQuick{1};
constexpr std::string_view kInferenceService = "inference.GRPCInferenceService";
constexpr std::string_view kSessionHeader = "x-lathe-session";
constexpr std::string_view kNotHereLine = "x-lathe-not-here: 1\r\n";
constexpr std::string_view kStreamInfer = "/inference.GRPCInferenceService/ModelStreamInfer";

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

bool is_packed(const http::Request& request) {
  const auto encoding = request.header("content-encoding");
  return !request.grpc && !encoding.empty() && !http::equal_ignoring_case(encoding, "identity");
}

/// A request whose body came packed.
struct Unpacked {
  http::Request request;
  std::string body;
};

/// A stream of inferences goes on after an error: it is one of its messages.
void wrap_reply(http::Reply& reply) {
  if (reply.error)
    reply.body = stream_error(reply.error->message);
  else
    wrap_in_stream(reply.body);
  reply.error.reset();
}

bool is_right_method(const http::Request& request, const Route& route) {
  // Reads the settings, or changes them.
  const bool settings = route.operated == "/v2/logging" || route.operated.ends_with("/trace/setting");
  if (settings && (request.method == "GET" || request.method == "HEAD")) return true;
  return request.grpc || request.method == route.method() || (request.method == "HEAD" && route.method() == "GET");
}

/// `allowed`: the path's method, where another one was used.
void refuse_at_door(std::string_view allowed, Error error, http::Reply& reply) {
  refuse(reply, std::move(error));
  if (allowed.empty()) return;
  reply.status = 405;
  reply.headers += "Allow: " + std::string(allowed) + "\r\n";
}

/// `wait`: until the next one goes.
void refuse_too_many(const Endpoint& endpoint, std::chrono::nanoseconds wait, http::Reply& reply) {
  constexpr int kTooMany = 429;
  refuse(reply, Code::exhausted,
         "this key asks endpoint " + in_quotes(endpoint.name) +
             " more often than its rate_limit allows; wait as long as Retry-After says");
  reply.status = kTooMany;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  reply.headers = "Retry-After: " + std::to_string(std::max<std::int64_t>(1, seconds)) + "\r\n";
}

/// Keeps the model in memory until the request is answered.
http::Answer holding(SleepingModel::Held held, http::Answer answer) {
  return [held = std::move(held), answer = std::move(answer)](http::Reply given) { answer(std::move(given)); };
}

/// A message whose field 1 is this number.
std::string one_number(std::uint64_t value) {
  std::string out;
  wire::put_number(out, 1, value);
  return out;
}

/// Why no deployment of an endpoint takes requests, and what to do.
std::string why_no_traffic(const Endpoint& endpoint) {
  const auto name = in_quotes(endpoint.name);
  if (!endpoint.deployments.empty())
    return "no deployment of endpoint " + name + " takes traffic; give it to one: lathe online-endpoint update -n " +
           endpoint.name + " --traffic \"" + endpoint.deployments.front()->name + "=100\"";
  if (endpoint.others.empty())
    return "endpoint " + name + " has no deployment; 'lathe online-deployment list -e " + endpoint.name +
           "' shows whether one waits for room, and this makes one: lathe online-deployment create -e " +
           endpoint.name + " -f FILE --all-traffic";
  return "endpoint " + name + " has no deployment that is ready; 'lathe online-deployment list -e " + endpoint.name +
         "' says what they wait for";
}

}  // namespace

Service::Service(const CatalogHolder& catalog, Peers& peers, const ServiceLimits& limits, const KeyDigest& operator_key)
    : catalog_(catalog),
      peers_(peers),
      most_bytes_(limits.body_bytes),
      operator_key_(operator_key),
      cache_(limits.cache_bytes),
      pool_(static_cast<std::size_t>(limits.pool_threads)) {
  tools_.post = [this](std::function<void()> work) { boost::asio::post(pool_, std::move(work)); };
  tools_.cache = &cache_;
}

http::GrpcMethod Service::grpc_method(std::string_view path) const {
  const auto route = parse_grpc_route(path);
  if (!route) return {};
  const bool streams = route->operation == Operation::stream_infer || route->operation == Operation::reflection;
  return {streams, !route->needs_key()};
}

bool Service::admit(const http::Request& head, http::Reply& refusal) {
  if (!head.grpc && head.path.starts_with(kGrpcPaths)) return admit_relayed(head, refusal);
  Call call;
  auto entered = head.grpc ? check_head(head) : enter(head, call);
  if (!entered && !head.grpc && call.endpoint != nullptr && !call.endpoint->allowed_origins.empty())
    refusal.headers += http::cors_lines(call.endpoint->allowed_origins, head, refusal.headers);
  if (!entered) refuse_at_door(call.wrong_method ? call.route.method() : std::string_view{}, entered.error(), refusal);
  return entered.has_value();
}

Result<void> Service::check_head(const http::Request& head) const {
  const auto route = parse_grpc_route(head.path);
  if (!route)
    return fail(Error{Code::not_found, "there is no method " + printable(head.path) + " here",
                      std::string(grpc::kUnimplemented)});
  if (route->operation == Operation::operate) return check_operator(head);
  if (!route->needs_key()) return {};
  const auto key = bearer_key(head.header("authorization"));
  if (key.empty())
    return fail(Code::unauthenticated,
                "this needs a key of an endpoint: send the metadata 'authorization: Bearer KEY' "
                "('lathe online-endpoint get-credentials' prints it)");
  LATHE_TRY(const auto digest, digest_of(key));
  const auto catalog = catalog_.load(std::memory_order_acquire);
  std::optional<Error> expired;
  for (const auto& [name, endpoint] : catalog->endpoints) {
    if (!endpoint.takes_tokens && !knows_key(endpoint.keys, digest)) continue;
    auto opens = check_credential(endpoint, key, digest, verified_);
    if (opens) return {};
    if (opens.error().code == Code::unauthenticated) expired = std::move(opens.error());
  }
  if (expired) return fail(std::move(*expired));
  return fail(Code::forbidden,
              "this is not a key of any endpoint here; 'lathe online-endpoint get-credentials' prints them");
}

Result<void> Service::check_operator(const http::Request& request) const {
  LATHE_TRY(const auto digest, digest_of(bearer_key(request.header("authorization"))));
  if (knows_key({operator_key_}, digest)) return {};
  return fail(
      Code::forbidden,
      "this needs the operator's key: an administrator finds it in infer/operator.key of the server's data folder");
}

Result<void> Service::find_route(const http::Request& request, Call& call) const {
  if (request.grpc) {
    call.route = *parse_grpc_route(request.path);  // seen by check_head
    if (!call.route.needs_key() || call.route.lists()) return {};
    LATHE_TRY(const auto named, read_model_name(request.body));
    call.route.model = named.name;
    call.route.version = named.version;
    if (call.route.operation == Operation::model_statistics && named.name.empty())
      call.route.operation = Operation::every_statistics;
    return {};
  }
  auto path = request.path;
  if (path.find('%') != std::string_view::npos) {
    call.decoded_path = url_decode(path);
    path = call.decoded_path;
  }
  const auto route = parse_route(path);
  if (!route)
    return fail(Code::not_found, "there is nothing at " + printable(path) +
                                     "; predictions are at /v2/models/ENDPOINT/infer and "
                                     "/endpoints/ENDPOINT/invocations");
  call.route = *route;
  return {};
}

Result<void> Service::enter(const http::Request& request, Call& call) const {
  LATHE_CHECK(find_route(request, call));
  call.wrong_method = !is_right_method(request, call.route);
  if (call.wrong_method)
    return fail(Code::invalid, std::string(request.path) + " takes " + std::string(call.route.method()) + ", not " +
                                   std::string(request.method));
  if (call.route.operation == Operation::operate) return check_operator(request);
  call.catalog = catalog_.load(std::memory_order_acquire);
  if (call.catalog->cluster) {
    call.relayed = !request.header(kMark).empty();
    call.trusted = call.relayed && is_marked(request, *call.catalog);
  }
  if (!call.route.needs_key()) return {};
  if (!call.route.lists()) LATHE_CHECK(find_endpoint(request, call));
  return check_key(request, call);
}

Result<void> Service::check_key(const http::Request& request, Call& call) const {
  const auto key = bearer_key(request.header("authorization"));
  if (key.empty())
    return fail(Code::unauthenticated,
                (call.endpoint != nullptr ? "endpoint " + in_quotes(call.endpoint->name) : std::string("this")) +
                    " needs one of its keys: send the header "
                    "'Authorization: Bearer KEY' ('lathe online-endpoint get-credentials' prints it)");
  LATHE_TRY(const auto digest, digest_of(key));
  if (call.endpoint != nullptr) {
    LATHE_TRY(call.key, check_credential(*call.endpoint, key, digest, verified_));
    return {};
  }
  for (const auto& [name, endpoint] : call.catalog->endpoints)
    if ((call.route.endpoint.empty() || call.route.endpoint == name) &&
        check_credential(endpoint, key, digest, verified_))
      call.endpoints.push_back(&endpoint);
  if (!call.endpoints.empty()) return {};
  return fail(Code::forbidden,
              "this is not a key of any endpoint here; 'lathe online-endpoint get-credentials' prints them");
}

Result<void> Service::find_endpoint(const http::Request& request, Call& call) const {
  const auto& catalog = *call.catalog;
  auto name = call.route.endpoint;
  if (name.empty()) name = call.route.model;
  if (name.empty()) name = request.header("x-lathe-endpoint");
  if (name.empty()) {
    if (catalog.endpoints.empty()) return fail(Code::not_found, "there is no endpoint here yet");
    if (catalog.endpoints.size() > 1)
      return fail(Code::invalid, request.grpc
                                     ? "there are several endpoints here: name one as the model, or in the metadata "
                                       "x-lathe-endpoint"
                                     : "there are several endpoints here: use /endpoints/NAME" +
                                           std::string(request.path) + ", or the header x-lathe-endpoint");
    call.endpoint = &catalog.endpoints.begin()->second;
  } else {
    call.endpoint = catalog.find(name);
    // The model may name one deployment: endpoint.deployment
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
    if (call.endpoint == nullptr || other)
      return fail(Code::not_found,
                  "there is no endpoint named " + in_quotes(printable(other ? model : name)) + " here");
  }
  if (const auto named = request.header("azureml-model-deployment"); !named.empty()) call.deployment = named;
  return {};
}

bool Service::handle(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off) {
  if (!request.grpc && request.path.starts_with(kGrpcPaths)) return handle_relayed(request, reply, put_off);
  if (!request.grpc || request.path != kStreamInfer) return handle_call(request, reply, put_off);
  const auto put_off_wrapped = [&put_off]() -> http::Answer {
    return [answer = put_off()](http::Reply given) {
      wrap_reply(given);
      answer(std::move(given));
    };
  };
  if (!handle_call(request, reply, put_off_wrapped)) return false;
  wrap_reply(reply);
  return true;
}

bool Service::handle_call(const http::Request& request, http::Reply& reply,
                          const std::function<http::Answer()>& put_off) {
  if (http::is_preflight(request) && answer_preflight(request, reply)) return true;
  Call call;
  const auto entered = enter(request, call);
  if (call.endpoint == nullptr || request.grpc || call.endpoint->allowed_origins.empty())
    return handle_entered(request, call, entered, reply, put_off);
  const auto put_off_with_cors = [&]() -> http::Answer {
    // The endpoint is the catalog's.
    return [answer = put_off(), catalog = call.catalog, endpoint = call.endpoint, &request](http::Reply given) {
      given.headers += http::cors_lines(endpoint->allowed_origins, request, given.headers);
      answer(std::move(given));
    };
  };
  if (!handle_entered(request, call, entered, reply, put_off_with_cors)) return false;
  reply.headers += http::cors_lines(call.endpoint->allowed_origins, request, reply.headers);
  return true;
}

bool Service::answer_preflight(const http::Request& request, http::Reply& reply) const {
  Call call;
  if (!find_route(request, call) || !call.route.needs_key() || call.route.lists()) return false;
  call.catalog = catalog_.load(std::memory_order_acquire);
  if (!find_endpoint(request, call) || call.endpoint->allowed_origins.empty()) return false;
  reply.content_type = nullptr;
  reply.headers += http::preflight_lines(call.endpoint->allowed_origins, request, call.route.method());
  return true;
}

bool Service::handle_entered(const http::Request& request, const Call& call, const Result<void>& entered,
                             http::Reply& reply, const std::function<http::Answer()>& put_off) {
  if (!entered) {
    refuse_at_door(call.wrong_method ? call.route.method() : std::string_view{}, entered.error(), reply);
    if (call.relayed) reply.headers += kNotHereLine;  // the peer knows a newer state, or an older one
    return true;
  }
  if (!call.route.needs_key()) {
    const bool operates = call.route.operation == Operation::operate;
    if (auto answered = operates ? operate(request, call.route.operated, *catalog_.load(), reply)
                                 : answer_open(request, call, reply);
        !answered)
      refuse(reply, answered.error());
    return true;
  }
  if (call.route.predicts() && call.endpoint->rate_limit && !call.trusted) {
    const auto wait = call.endpoint->rate_limit->take(call.key, RateLimit::Clock::now());
    if (wait.count() > 0) {
      refuse_too_many(*call.endpoint, wait, reply);
      return true;
    }
  }
  if (call.route.reads_body() && is_packed(request)) return handle_packed(request, call, reply, put_off);
  return handle_known(request, call, reply, put_off);
}

bool Service::handle_packed(const http::Request& request, const Call& call, http::Reply& reply,
                            const std::function<http::Answer()>& put_off) {
  auto plain = http::inflate(request.header("content-encoding"), request.body, most_bytes_);
  if (!plain) {
    const bool too_large = plain.error().code == Code::exhausted;
    refuse(reply, std::move(plain.error()));
    if (too_large) {
      reply.status = 413;
      reply.headers.clear();  // asking again later would not help
    }
    return true;
  }
  const auto unpacked = std::make_shared<Unpacked>(Unpacked{request, std::move(*plain)});
  unpacked->body.reserve(unpacked->body.size() + simdjson::SIMDJSON_PADDING);
  unpacked->request.body = unpacked->body;
  const auto put_off_with_body = [&]() -> http::Answer {
    return [answer = put_off(), unpacked](http::Reply given) { answer(std::move(given)); };
  };
  return handle_known(unpacked->request, call, reply, put_off_with_body);
}

/// Of a call that may be made, with its body as it was meant.
bool Service::handle_known(const http::Request& request, const Call& call, http::Reply& reply,
                           const std::function<http::Answer()>& put_off) {
  if (call.route.lists()) {
    answer_list(request, call, reply);
    return true;
  }
  if (call.route.operation == Operation::endpoint_statistics) {
    reply.body = endpoint_statistics_json(*call.endpoint);
    return true;
  }
  const bool shared = call.endpoint->everywhere && call.route.predicts() && !call.relayed;
  const auto named = shared ? pick_everywhere(request, call) : call.deployment;
  const auto& endpoint = *call.endpoint;
  const auto copy_to_mirror = [&] {
    if (call.deployment.empty() && endpoint.mirror && !call.trusted && endpoint.mirrored->pick() == 0)
      mirror_.send(call.route.operation, request, endpoint.mirror);
  };
  if (shared && goes_elsewhere(call, named)) {
    copy_to_mirror();
    relay(request, call, named, put_off);
    return false;
  }
  auto picked = pick(request, call, named);
  if (!picked) {
    const bool asks_ready = call.route.operation == Operation::model_ready && picked.error().code == Code::unavailable;
    if (asks_ready && request.grpc) return true;  // an empty message: ready = false
    refuse(reply, picked.error());
    if (call.relayed) reply.headers += kNotHereLine;
    if (asks_ready) reply.status = 400;  // as the protocol says
    return true;
  }
  const auto& deployment = **picked;
  if (const auto wanted = call.route.version; !wanted.empty() && wanted != deployment->desired.model.version) {
    refuse(reply, Code::not_found,
           "deployment " + in_quotes(deployment->name) + " of endpoint " + in_quotes(deployment->endpoint) +
               " serves version " + deployment->desired.model.version + ", not " + printable(wanted));
    return true;
  }
  if (!call.route.predicts()) {
    describe(request, call, *deployment, reply);
    return true;
  }
  copy_to_mirror();
  if (!call.catalog->cluster) return predict(request, call.route.operation, deployment, reply, put_off);
  return predict(request, call.route.operation, deployment, reply, counted(deployment, put_off));
}

void Service::describe(const http::Request& request, const Call& call, const Deployment& deployment,
                       http::Reply& reply) const {
  const auto name = call.route.model.empty() ? std::string_view(deployment.endpoint) : call.route.model;
  const auto& version = deployment.desired.model.version;
  switch (call.route.operation) {
    case Operation::model_ready:
      if (const auto* const python = deployment.model->python(); python != nullptr && !python->answers(Ask::infer)) {
        if (request.grpc) break;  // an empty message: ready = false
        refuse(reply, Code::invalid,
               "deployment " + in_quotes(deployment.name) + " of endpoint " + in_quotes(deployment.endpoint) +
                   " has a scoring script, which answers POST /endpoints/" + deployment.endpoint + "/score alone");
        break;
      }
      if (request.grpc) {
        reply.body = one_number(1);
        break;
      }
      reply.body = "{\"name\":";
      append_text(reply.body, name);
      reply.body += ",\"ready\":true}";
      break;
    case Operation::model_config:
      reply.body = request.grpc ? config_message(name, deployment) : config_json(name, deployment);
      break;
    case Operation::model_statistics:
      reply.body = request.grpc ? statistics_message({&deployment}) : statistics_json({&deployment});
      break;
    default:
      reply.body = request.grpc ? metadata_message(name, version, *deployment.model)
                                : model_metadata(name, {version}, *deployment.model);
  }
}

void Service::answer_list(const http::Request& request, const Call& call, http::Reply& reply) const {
  if (call.route.operation == Operation::every_statistics) {
    std::vector<const Deployment*> deployments;
    for (const auto* const endpoint : call.endpoints)
      for (const auto& each : endpoint->deployments) deployments.push_back(each.get());
    reply.body = request.grpc ? statistics_message(deployments) : statistics_json(deployments);
    return;
  }
  auto ready_only = request.grpc ? wants_ready_message(request.body) : wants_ready_json(request.body);
  if (!ready_only)
    refuse(reply, ready_only.error());
  else
    reply.body = request.grpc ? index_message(call.endpoints, *ready_only) : index_json(call.endpoints, *ready_only);
}

Result<void> Service::answer_open(const http::Request& request, const Call& call, http::Reply& reply) const {
  const bool settled = call.catalog->settled;
  switch (call.route.operation) {
    case Operation::live:
      reply.body = request.grpc ? one_number(1) : R"({"live":true})";
      break;
    case Operation::ready:
      reply.body = request.grpc ? one_number(settled ? 1 : 0) : settled ? R"({"ready":true})" : R"({"ready":false})";
      if (!settled) reply.status = 400;
      break;
    case Operation::server_metadata:
      reply.body = request.grpc ? server_message() : server_json();
      break;
    case Operation::version:
      reply.body = std::string(R"({"version":")") + version() + "\"}";
      break;
    case Operation::metrics:
      reply.content_type = "text/plain; version=0.0.4";
      reply.body = metrics_text(*call.catalog);
      break;
    case Operation::cluster_state:
      if (!call.trusted) return fail(Code::not_found, "there is nothing at " + printable(request.path));
      reply.body = peers_.state(*call.catalog, request.header(kNode));
      break;
    case Operation::repository_change:
      return fail(Code::forbidden,
                  "an endpoint's key does not change what is served, which needs an administrator's right: use "
                  "'lathe online-deployment' and 'lathe online-endpoint update --traffic'");
    case Operation::health_check: {
      constexpr std::uint64_t kServing = 1;
      constexpr std::uint64_t kNotServing = 2;
      LATHE_TRY(const auto asked, read_model_name(request.body));
      if (!asked.name.empty() && asked.name != kInferenceService)
        return fail(Code::not_found, "there is no service " + printable(asked.name) + " here");
      reply.body = one_number(settled ? kServing : kNotServing);
      break;
    }
    case Operation::reflection: {
      LATHE_TRY(reply.body, grpc::reflect(request.body));
      break;
    }
    default:
      reply.body = R"({"status":"ok"})";
  }
  return {};
}

Result<const Service::DeploymentPtr*> Service::pick(const http::Request& request, const Call& call,
                                                    std::string_view named) const {
  const auto& endpoint = *call.endpoint;
  if (!named.empty()) {
    const auto* const found = endpoint.find(named);
    if (found == nullptr) {
      const bool loads = std::any_of(endpoint.others.begin(), endpoint.others.end(),
                                     [&](const Unready& each) { return each.name == named && each.error.empty(); });
      return fail(loads ? Code::unavailable : Code::not_found,
                  "endpoint " + in_quotes(endpoint.name) + " has no deployment " + in_quotes(printable(named)) +
                      (loads ? " that is ready yet: it loads" : " that is ready"));
    }
    return found;
  }
  if (endpoint.split->empty()) return fail(Code::unavailable, why_no_traffic(endpoint));
  if (!call.route.predicts()) return &endpoint.deployments[endpoint.split->main()];
  const auto session = request.header(kSessionHeader);
  return &endpoint.deployments[session.empty() ? endpoint.split->pick() : endpoint.split->pick_for(session)];
}

bool Service::predict(const http::Request& request, Operation operation, const DeploymentPtr& deployment,
                      http::Reply& reply, const std::function<http::Answer()>& put_off) {
  const auto* const sleeper = deployment->model->sleeper();
  if (sleeper == nullptr) return run(operation, request, deployment, {}, reply, put_off);
  const auto held = sleeper->use();
  if (!held) {
    wake(operation, request, deployment, put_off());
    return false;
  }
  return run(operation, request, deployment, {}, reply, [&]() -> http::Answer { return holding(held, put_off()); });
}

void Service::wake(Operation operation, const http::Request& request, const DeploymentPtr& deployment,
                   http::Answer answer) {
  /// Whoever takes it answers: the model that woke, or the clock.
  struct Sleeping {
    std::atomic<bool> taken{false};
    DeploymentPtr deployment;
    http::Answer answer;
  };
  const auto sleeping = std::make_shared<Sleeping>();
  sleeping->deployment = deployment;
  sleeping->answer = std::move(answer);
  const auto begin = Lane::Clock::now();
  const auto refuse_sleeping = [sleeping, begin](Error error) {
    const auto own = std::move(sleeping->deployment);
    const auto give = std::move(sleeping->answer);
    http::Reply out;
    out.headers += own->reply_header;
    refuse(out, std::move(error));
    own->count(out.status, {Lane::Clock::now() - begin, {}, {}, {}}, 0);
    give(std::move(out));
  };
  tools_.clock.at(begin + limit_of(*deployment, request), [sleeping, refuse_sleeping, &request](bool ends) {
    // At the end of the server, those that wake are waited for.
    if (!ends && !sleeping->taken.exchange(true)) refuse_sleeping(waited_too_long(*sleeping->deployment, request));
  });
  deployment->model->sleeper()->wake([=, this, &request](Result<SleepingModel::Held> woken) {
    if (sleeping->taken.exchange(true)) return;
    if (!woken) return refuse_sleeping(woken.error());
    tools_.post([=, this, &request, held = *woken] {
      const auto own = std::move(sleeping->deployment);
      const auto give = holding(held, std::move(sleeping->answer));
      http::Reply reply;
      if (run(operation, request, own, Lane::Clock::now() - begin, reply, [&] { return give; })) give(std::move(reply));
    });
  });
}

bool Service::run(Operation operation, const http::Request& request, const DeploymentPtr& deployment,
                  std::chrono::nanoseconds queued, http::Reply& reply, const std::function<http::Answer()>& put_off) {
  if (deployment->model->python() != nullptr) return ask_workers(operation, request, deployment, reply, put_off);
  if (deployment->batches) {
    deployment->batches->ask(tools_, deployment, operation, request, queued, put_off());
    return false;
  }
  if (deployment->cost.of(request.body.size()) < kQuick) {
    predict_now(operation, request, *deployment, queued, &cache_, reply);
    return true;
  }
  const auto limit = limit_of(*deployment, request);
  const auto begin = Lane::Clock::now() - queued;
  const auto answer = std::make_shared<http::Answer>(put_off());
  auto job = [this, operation, &request, deployment, answer, begin](bool late) {
    http::Reply out;
    const auto waited = Lane::Clock::now() - begin;
    if (late) {
      refuse(out, waited_too_long(*deployment, request));
      deployment->count(out.status, {waited, {}, {}, {}}, 0);
    } else {
      predict_now(operation, request, *deployment, waited, &cache_, out);
    }
    (*answer)(std::move(out));
  };
  if (deployment->lane.submit(tools_.post, begin + limit, std::move(job))) return false;
  http::Reply full;
  refuse(full, Code::exhausted,
         "the queue of deployment " + in_quotes(deployment->name) + " is full (" +
             std::to_string(deployment->desired.max_queue) + " requests wait); try again later");
  deployment->count(full.status, {}, 0);
  (*answer)(std::move(full));
  return false;
}

}  // namespace lathe::infer
