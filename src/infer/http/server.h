#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "infer/http/request_parser.h"
#include "infer/http/tls.h"

namespace lathe::infer::http {

/// What goes back. `headers` are whole extra lines, each with its CR LF.
struct Reply {
  int status = 200;
  const char* content_type = "application/json";  ///< null: it stands in `headers`
  std::string headers;
  std::string body;
  std::optional<Error> error = {};  ///< set when it is one: what gRPC tells in place of status and body
};

/// Sends the reply of a request that was put off. Call once, from any thread.
using Answer = std::function<void(Reply)>;

/// What a gRPC method is.
struct GrpcMethod {
  bool streams = false;  ///< a stream of messages, each of which is handled as a request
  bool open = false;     ///< it needs no key
};

class Handler {
 public:
  virtual ~Handler() = default;

  /// Answers `request` by filling `reply` and returning true; or takes the answer with `put_off`, returns false and
  /// calls it later. Until it is called `request` stays valid. Called on an I/O thread, by several of them at once.
  virtual bool handle(const Request& request, Reply& reply, const std::function<Answer()>& put_off) = 0;

  /// Called when the head is there but a body is still to come. False refuses the request without reading the body.
  virtual bool admit(const Request& head, Reply& refusal) = 0;

  /// Nothing of both for a path that it does not know.
  virtual GrpcMethod grpc_method(std::string_view path) const = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;       ///< of HTTP/1.1; 0 picks one
  std::uint16_t grpc_port = 0;  ///< the same for gRPC
  int threads = 1;
  std::shared_ptr<const Tls> tls = {};  ///< null: both ports are plain
  Limits limits = {};
  std::chrono::seconds idle_limit{75};  ///< a connection without a request
  std::chrono::seconds head_limit{15};  ///< from a request's first byte to the end of its head
  std::chrono::seconds body_limit{30};  ///< without a byte read or written
};

/// A small server of HTTP/1.1 and gRPC: one io_context and one listening socket (SO_REUSEPORT) of each per thread. A
/// connection stays on its thread. HTTP/1.1 requests on one connection are answered in their order; the next is read
/// when the one before is answered.
class Server {
 public:
  /// Listens. Errors: `conflict` — the port is taken; `invalid` — not an address of this machine.
  /// `handler` must outlive the server.
  static Result<std::unique_ptr<Server>> listen(const ServerOptions& options, Handler& handler);

  virtual ~Server() = default;
  /// Begins to answer. Returns at once.
  virtual void start() = 0;
  virtual std::uint16_t port() const = 0;
  virtual std::uint16_t grpc_port() const = 0;
  /// Stops listening, lets the requests in flight end, at most `grace`, and returns when all threads have ended.
  virtual void drain(std::chrono::seconds grace) = 0;
};

}  // namespace lathe::infer::http
