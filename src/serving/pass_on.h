#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "http/client.h"
#include "http/http.h"
#include "serving/data_plane.h"

/// Predictions by the server's own port, so that one port, or one tunnel, is enough. The data plane's port is the fast
/// one: this way a request is held in memory and sent on, and only so many go at once.
namespace lathe::serving {

/// Hands requests to the data plane as they are, and its answers back. The data plane checks their keys. Thread-safe.
class PassOn {
 public:
  explicit PassOn(const DataPlane& plane) : plane_(plane) {}

  /// Blocks until the data plane has answered. Errors: `unavailable` — it does not run, or too many requests are under
  /// way; `timeout`.
  Result<http::Response> pass(const http::Call& call, std::string_view body);
  /// The same with the operator's key, for who has shown an administrator's right.
  Result<http::Response> pass_as_operator(http::Call call);

  /// Takes part of a body into memory. False: strangers may not fill more of it.
  bool hold(std::size_t bytes);
  void release(std::size_t bytes) { held_ -= bytes; }

 private:
  /// A connection that no other request uses.
  http::Client take(const Reported& to);
  void put_back(const Reported& to, http::Client client);

  const DataPlane& plane_;
  std::atomic<std::size_t> held_{0};
  std::atomic<int> under_way_{0};
  std::mutex mutex_;
  std::string place_;  ///< where `idle_` are connected: the URL, and the certificate seen there
  std::vector<http::Client> idle_;
};

/// The id of all routes that are passed on, and so are what browsers ask about them (OPTIONS).
constexpr const char* kPassOnRoute = "pass_on";
/// /v2/..., /endpoints/NAME/..., /invocations, /score, /ping
void add_routes(http::Router& router, std::shared_ptr<PassOn> pass_on);

}  // namespace lathe::serving
