#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "http/http.h"

namespace lathe::http {

/// What came in the Authorization header.
struct Credentials {
  std::string token;  ///< of `Bearer TOKEN`, or the password of `Basic`
  std::string user;   ///< of `Basic`, may be empty
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  ///< 0 picks one
  /// The id of the routes that are asked themselves whether pages of other sites may use them (OPTIONS).
  std::string preflight_route = {};
  std::string certificate_file;  ///< PEM; with key_file: TLS
  std::string key_file;
  int workers = 4;  ///< threads for handlers that block
  /// Host names, beside the address itself, localhost and loopback addresses, that a Host header may name. "*" takes all.
  std::vector<std::string> allowed_hosts;
  /// Called when the server stops and running requests had their time: ends what handlers wait for.
  std::function<void()> interrupt = [] {};
  /// Turns credentials into who it is. Called on the I/O thread: must answer from memory. No credentials: nullopt.
  std::function<Result<Principal>(const std::optional<Credentials>&)> authenticate;
};

/// The HTTP server: one I/O thread for sockets, a pool for handlers that block. Thread-safe.
class Server {
 public:
  virtual ~Server() = default;
  /// The port it listens on.
  virtual std::uint16_t port() const = 0;
  /// "http://127.0.0.1:8080"
  virtual std::string url() const = 0;
  /// Stops accepting, lets running requests end for at most `grace`, closes streams, joins the threads.
  virtual void stop(std::chrono::milliseconds grace) = 0;
  /// Prometheus text of its own counters.
  virtual std::string metrics() const = 0;
};

/// Listens and serves. The router must outlive the server and not change any more.
/// Errors: `conflict` — the port is taken; `invalid` — no such address, bad certificate.
Result<std::unique_ptr<Server>> serve(ServerOptions options, const Router& router);

}  // namespace lathe::http
