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
  metrics,  // open to everybody
  model_metadata,
  model_ready,
  infer,
  invocations,
  score  // need an endpoint's key
};

/// What a path asks for. The views point into the path.
struct Route {
  Operation operation = Operation::live;
  std::string_view endpoint;  ///< of the prefix /endpoints/NAME
  std::string_view model;     ///< of /v2/models/NAME: an endpoint, or endpoint.deployment
  std::string_view version;   ///< of /versions/VERSION

  bool needs_key() const { return operation >= Operation::model_metadata; }
  /// The one method that it takes ("GET" stands for HEAD too).
  std::string_view method() const { return operation >= Operation::infer ? "POST" : "GET"; }
};

/// `path` is percent-decoded.
std::optional<Route> parse_route(std::string_view path);

}  // namespace lathe::infer
