#include "base/text.h"
#include "infer/cluster/relay.h"
#include "infer/predict.h"
#include "infer/service.h"

namespace lathe::infer {
namespace {

constexpr std::string_view kSessionHeader = "x-lathe-session";
/// Longer than any deployment may take.
constexpr std::chrono::minutes kLongest{10};

/// So that the peer can tell it as gRPC does.
void add_code(http::Reply& reply) {
  if (!reply.error) return;
  reply.headers += std::string(kErrorCode) + ": " + std::to_string(static_cast<int>(reply.error->code)) + "\r\n";
}

void refuse_unknown_path(const http::Request& request, http::Reply& reply) {
  refuse(reply, Code::not_found, "there is nothing at " + printable(request.path) + "; gRPC has a port of its own");
}

}  // namespace

std::string_view Service::pick_everywhere(const http::Request& request, const Call& call) const {
  if (!call.deployment.empty()) return call.deployment;
  auto& split = *call.endpoint->everywhere;
  if (split.empty()) return {};
  const auto session = request.header(kSessionHeader);
  const auto& name = split.names()[session.empty() ? split.pick() : split.pick_for(session)];
  const bool ready =
      call.endpoint->find(name) != nullptr || peers_.have(place_of_deployment(call.endpoint->name, name));
  return ready ? std::string_view(name) : std::string_view{};
}

bool Service::goes_elsewhere(const Call& call, std::string_view deployment) const {
  if (deployment.empty()) return false;
  const auto* const here = call.endpoint->find(deployment);
  // What is computed at once is computed here: sending it on would cost more.
  if (here != nullptr && (*here)->under_way.load(std::memory_order_relaxed) < (*here)->room()) return false;
  return peers_.have(place_of_deployment(call.endpoint->name, deployment));
}

void Service::relay(const http::Request& request, const Call& call, std::string_view deployment,
                    const std::function<http::Answer()>& put_off) {
  const auto* const here = call.endpoint->find(deployment);
  const auto operation = call.route.operation;
  const auto answer = std::make_shared<http::Answer>(put_off());
  const auto relayed = std::make_shared<Relayed>();
  relayed->place = place_of_deployment(call.endpoint->name, deployment);
  relayed->head = relayed_head(request, operation, deployment, call.catalog->cluster->key);
  relayed->body = request.body;
  relayed->deadline =
      Peers::Clock::now() + std::min<std::chrono::nanoseconds>(request.timeout.value_or(kLongest), kLongest);
  relayed->here_too = here != nullptr;
  relayed->answered = [&request, answer](Exchanged got, const std::string& peer) {
    (*answer)(relayed_reply(request, std::move(got), peer));
  };
  relayed->here = [this, &request, operation, answer, own = here != nullptr ? *here : nullptr] {
    tools_.post([this, &request, operation, answer, own] {
      http::Reply reply;
      if (!own) {
        refuse(reply, Code::unavailable, "no machine has this deployment ready just now; try again soon");
        return (*answer)(std::move(reply));
      }
      const auto again = counted(own, [answer]() -> http::Answer { return *answer; });
      if (predict(request, operation, own, reply, again)) (*answer)(std::move(reply));
    });
  };
  peers_.send(relayed);
}

bool Service::admit_relayed(const http::Request& head, http::Reply& refusal) {
  if (!is_marked(head, *catalog_.load(std::memory_order_acquire))) {
    refuse_unknown_path(head, refusal);
    return false;
  }
  return true;
}

bool Service::handle_relayed(const http::Request& request, http::Reply& reply,
                             const std::function<http::Answer()>& put_off) {
  const auto catalog = catalog_.load(std::memory_order_acquire);
  if (!is_marked(request, *catalog) || !parse_grpc_route(request.path)) {
    refuse_unknown_path(request, reply);
    return true;
  }
  const auto call = std::make_shared<const http::Request>(as_grpc(request));
  const auto put_off_with_call = [&]() -> http::Answer {
    return [answer = put_off(), call](http::Reply given) {
      add_code(given);
      answer(std::move(given));
    };
  };
  if (!handle_call(*call, reply, put_off_with_call)) return false;
  add_code(reply);
  return true;
}

std::function<http::Answer()> Service::counted(const DeploymentPtr& deployment, std::function<http::Answer()> put_off) {
  return [this, deployment, put = std::move(put_off)]() -> http::Answer {
    ++deployment->under_way;
    peers_.began();
    return [this, deployment, answer = put()](http::Reply reply) {
      --deployment->under_way;
      peers_.ended();
      answer(std::move(reply));
    };
  };
}

}  // namespace lathe::infer
