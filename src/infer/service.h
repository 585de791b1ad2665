#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infer/batching/batch_lane.h"
#include "infer/catalog.h"
#include "infer/cluster/peers.h"
#include "infer/credential.h"
#include "infer/http/server.h"
#include "infer/mirror.h"
#include "infer/route.h"

namespace lathe::infer {

struct ServiceLimits {
  int pool_threads = 2;
  std::size_t body_bytes = std::size_t{256} << 20;   ///< of a body that came packed, once it is unpacked
  std::size_t cache_bytes = std::size_t{128} << 20;  ///< of all response caches together
};

/// Answers the data plane's requests from the catalog of the moment. Quick models are run on the I/O thread; a request
/// that is expected to take longer, or that may share a run with others, goes through its deployment's lane to a pool
/// of threads.
class Service : public http::Handler {
 public:
  /// `operator_key`: of who may do more than predict.
  Service(const CatalogHolder& catalog, Peers& peers, const ServiceLimits& limits, const KeyDigest& operator_key);
  /// Nothing waits for others to join its batch any longer. Call it before the server drains.
  void hurry() { tools_.clock.finish(); }
  /// Waits for the requests in the pool. Their connections must still exist: call it before the server goes.
  void finish() {
    pool_.join();
    mirror_.finish();
  }

  bool handle(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off) override;
  bool admit(const http::Request& head, http::Reply& refusal) override;
  http::GrpcMethod grpc_method(std::string_view path) const override;

 private:
  /// A request that has passed the door.
  struct Call {
    std::string decoded_path;  ///< what the route points into, when the path was percent-encoded
    Route route;
    bool wrong_method = false;
    std::shared_ptr<const Catalog> catalog;
    const Endpoint* endpoint = nullptr;      ///< null for what is not about one
    std::size_t key = 0;                     ///< which of the endpoint's was given
    std::string_view deployment;             ///< empty: the traffic split decides
    std::vector<const Endpoint*> endpoints;  ///< of what lists: those whose key is given
    bool relayed = false;                    ///< it bears a peer's mark, or claims to: it is not sent on
    bool trusted = false;                    ///< the mark is right: its rate limit and its mirror are seen to
  };
  using DeploymentPtr = std::shared_ptr<const Deployment>;

  /// Finds route and endpoint and checks the key. Errors: why not.
  Result<void> enter(const http::Request& request, Call& call) const;
  Result<void> find_route(const http::Request& request, Call& call) const;
  Result<void> find_endpoint(const http::Request& request, Call& call) const;
  Result<void> check_key(const http::Request& request, Call& call) const;
  /// Of a gRPC call whose message, which names the endpoint, is still to come: whether its key is anybody's.
  Result<void> check_head(const http::Request& head) const;
  Result<void> check_operator(const http::Request& request) const;
  bool handle_call(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off);
  bool handle_entered(const http::Request& request, const Call& call, const Result<void>& entered, http::Reply& reply,
                      const std::function<http::Answer()>& put_off);
  /// Whether the request is a browser's question, which `reply` then answers.
  bool answer_preflight(const http::Request& request, http::Reply& reply) const;
  bool handle_packed(const http::Request& request, const Call& call, http::Reply& reply,
                     const std::function<http::Answer()>& put_off);
  bool handle_known(const http::Request& request, const Call& call, http::Reply& reply,
                    const std::function<http::Answer()>& put_off);
  Result<void> answer_open(const http::Request& request, const Call& call, http::Reply& reply) const;
  void answer_list(const http::Request& request, const Call& call, http::Reply& reply) const;
  void describe(const http::Request& request, const Call& call, const Deployment& deployment, http::Reply& reply) const;
  /// Of a prediction, the split's turn moves on, unless it is of a session. `named`: the deployment; empty: none is.
  /// Errors: there is none to pick.
  Result<const DeploymentPtr*> pick(const http::Request& request, const Call& call, std::string_view named) const;
  bool predict(const http::Request& request, Operation operation, const DeploymentPtr& deployment, http::Reply& reply,
               const std::function<http::Answer()>& put_off);
  /// Of a model that is in memory; it was `queued` until then.
  bool run(Operation operation, const http::Request& request, const DeploymentPtr& deployment,
           std::chrono::nanoseconds queued, http::Reply& reply, const std::function<http::Answer()>& put_off);
  /// Wakes the model, then answers.
  void wake(Operation operation, const http::Request& request, const DeploymentPtr& deployment, http::Answer answer);

  // What has to do with peers: service_peers.cc.
  /// Of a prediction: the deployment that is to answer, wherever it is ready; empty where it is ready nowhere.
  std::string_view pick_everywhere(const http::Request& request, const Call& call) const;
  /// Whether a peer has to compute it, or may, since there is no room for it here just now.
  bool goes_elsewhere(const Call& call, std::string_view deployment) const;
  /// Lets a peer, or this data plane if it is the less busy, compute it.
  void relay(const http::Request& request, const Call& call, std::string_view deployment,
             const std::function<http::Answer()>& put_off);
  /// A message of gRPC that a peer sent as a request.
  bool handle_relayed(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off);
  bool admit_relayed(const http::Request& head, http::Reply& refusal);
  /// Counts the request as one that is under way until it is answered.
  std::function<http::Answer()> counted(const DeploymentPtr& deployment, std::function<http::Answer()> put_off);

  const CatalogHolder& catalog_;
  Peers& peers_;
  std::size_t most_bytes_;
  const KeyDigest operator_key_;
  mutable VerifiedTokens verified_;
  ResponseCache cache_;
  boost::asio::thread_pool pool_;
  BatchLane::Tools tools_;
  Mirror mirror_;
};

}  // namespace lathe::infer
