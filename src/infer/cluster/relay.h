#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "infer/catalog.h"
#include "infer/cluster/peers.h"
#include "infer/http/server.h"
#include "infer/route.h"

/// How a prediction travels from the data plane that got it to the one that computes it: the same request by HTTP/1.1,
/// with the deployment that the traffic split chose, and the cluster's key, which says that the limit of its key's rate
/// has been looked at. One that bears the mark is never sent on. gRPC's messages go the same way, each as a request.
namespace lathe::infer {

constexpr std::string_view kStatePath = "/cluster";
constexpr std::string_view kMark = "x-lathe-forwarded";           ///< the cluster's key
constexpr std::string_view kNode = "x-lathe-node";                ///< who asks, and who answered
constexpr std::string_view kNotHere = "x-lathe-not-here";         ///< of a reply: nothing was computed, ask another
constexpr std::string_view kRelayTimeout = "x-lathe-timeout-ns";  ///< how much longer the client waits
constexpr std::string_view kErrorCode = "x-lathe-code";           ///< of a reply: what HTTP's status cannot tell gRPC
constexpr std::string_view kGrpcPaths = "/inference.GRPCInferenceService/";

/// What peers name a deployment.
std::string place_of_deployment(std::string_view endpoint, std::string_view deployment);

/// Whether the request bears the mark with this cluster's key.
bool is_marked(const http::Request& request, const Catalog& catalog);

/// The request for another data plane, whose body is plain by now.
std::string relayed_head(const http::Request& request, Operation operation, std::string_view deployment,
                         const std::string& key);

/// The call that a peer sent as a request: as it came, with gRPC's deadline.
http::Request as_grpc(const http::Request& relayed);

/// What the client gets of a peer's answer.
http::Reply relayed_reply(const http::Request& request, Exchanged answer, const std::string& peer);

}  // namespace lathe::infer
