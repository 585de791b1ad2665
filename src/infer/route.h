#pragma once

#include <optional>
#include <string_view>

namespace lathe::infer {

enum class Operation {
  live,
  ready,
  server_metadata,
  ping,
  version,
  metrics,
  cluster_state,  // of peers, which show their key
  repository_change,
  health_check,
  reflection,  // open to everybody
  operate,     // needs the operator's key
  every_statistics,
  repository_index,  // tell of the endpoints whose key is given
  model_metadata,
  model_ready,
  model_config,
  model_statistics,
  endpoint_statistics,
  infer,
  stream_infer,
  invocations,
  score  // need an endpoint's key
};

/// What a path asks for. The views point into the path.
struct Route {
  Operation operation = Operation::live;
  std::string_view endpoint;  ///< of the prefix /endpoints/NAME
  std::string_view model;     ///< of /v2/models/NAME: an endpoint, or endpoint.deployment
  std::string_view version;   ///< of /versions/VERSION
  std::string_view operated;  ///< of what needs the operator's key: the whole path

  bool needs_key() const { return operation >= Operation::every_statistics; }
  /// It is not about one endpoint.
  bool lists() const { return needs_key() && operation < Operation::model_metadata; }
  bool predicts() const { return operation >= Operation::infer; }
  bool reads_body() const { return predicts() || operation == Operation::repository_index; }
  /// The one method that it takes ("GET" stands for HEAD too).
  std::string_view method() const {
    if (operation == Operation::operate)
      return operated.ends_with("/status") || operated.ends_with("/trace") ? "GET" : "POST";
    return reads_body() || operation == Operation::repository_change ? "POST" : "GET";
  }
};

/// `path` is percent-decoded.
std::optional<Route> parse_route(std::string_view path);
/// The same of gRPC's "/SERVICE/METHOD". Which model is asked for stands in the message.
std::optional<Route> parse_grpc_route(std::string_view path);

}  // namespace lathe::infer
