#include "infer/http/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <optional>
#include <thread>
#include <vector>

#include "base/log.h"
#include "infer/grpc/connection.h"
#include "infer/http/connection.h"

namespace lathe::infer::http {
namespace {

using boost::system::error_code;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

std::int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Accepts the connections of one port on one thread.
class Listener {
 public:
  using Make = std::shared_ptr<Peer> (*)(Stream, PeerHost&);
  using Choose = Tls::Context (Tls::*)() const;

  /// `choose`: of the certificate's contexts, the one for these connections.
  Listener(asio::io_context& context, PeerHost& host, Make make, Choose choose)
      : context_(context), host_(host), make_(make), choose_(choose), acceptor_(context), retry_(context) {}

  error_code listen(const tcp::endpoint& endpoint) {
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.set_option(ReusePort(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(1024, error);
    return error;
  }

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

  void accept() {
    acceptor_.async_accept([this](const error_code& error, Socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return accept_after_pause(error);
      take(std::move(socket));
      accept();
    });
  }

  /// Takes those who have connected already: closing the listening socket would reset them.
  void close() {
    error_code error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      Socket socket(context_);
      acceptor_.accept(socket, error);
      if (!error) take(std::move(socket));
    }
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

 private:
  void take(Socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto* const tls = host_.options.tls.get();
    make_(Stream(std::move(socket), tls != nullptr ? (tls->*choose_)() : nullptr), host_)->start();
  }

  /// No descriptors are left, for example: others close soon.
  void accept_after_pause(const error_code& error) {
    log::warn("cannot accept a connection error=\"{}\"", error.message());
    retry_.expires_after(std::chrono::milliseconds(200));
    retry_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) accept();
    });
  }

  asio::io_context& context_;
  PeerHost& host_;
  Make make_;
  Choose choose_;
  asio::basic_socket_acceptor<tcp, asio::io_context::executor_type> acceptor_;
  asio::steady_timer retry_;
};

std::shared_ptr<Peer> make_http_connection(Stream stream, PeerHost& host) {
  return std::make_shared<Connection>(std::move(stream), host);
}

/// One thread with its listening sockets and its connections.
class Worker {
 public:
  Worker(const ServerOptions& options, Handler& handler)
      : host_{options, handler, seconds_now()},
        context_(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO),  // sockets stay on the thread; only `post` comes from others
        http_(context_, host_, make_http_connection, &Tls::http),
        grpc_(context_, host_, grpc::make_connection, &Tls::grpc),
        tick_(context_) {}

  Listener& http() { return http_; }
  Listener& grpc() { return grpc_; }

  void start() {
    http_.accept();
    grpc_.accept();
    tick();
    thread_ = std::thread([this] { context_.run(); });
  }

  void drain() {
    asio::post(context_, [this] {
      host_.draining = true;
      http_.close();
      grpc_.close();
      tick_.cancel();
      for (auto* each = host_.first; each != nullptr; each = each->next) each->drain();
      tick();  // from now on: until no connection is left
    });
  }

  void stop() { context_.stop(); }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  void tick() {
    host_.now_s = seconds_now();
    for (auto* each = host_.first; each != nullptr; each = each->next) each->check_time();
    if (host_.draining && host_.first == nullptr) return;
    tick_.expires_after(host_.draining ? std::chrono::milliseconds(20) : std::chrono::milliseconds(1000));
    tick_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) tick();
    });
  }

  PeerHost host_;  // outlives the connections that the context holds
  asio::io_context context_;
  Listener http_;
  Listener grpc_;
  asio::steady_timer tick_;
  std::thread thread_;
};

class ThreadedServer : public Server {
 public:
  ThreadedServer(const ServerOptions& options, Handler& handler) : options_(options) {
    for (int i = 0; i < options_.threads; ++i) workers_.emplace_back(options_, handler);
  }

  ~ThreadedServer() override {
    for (auto& worker : workers_) worker.stop();
    for (auto& worker : workers_) worker.join();
  }

  Result<void> listen() {
    LATHE_CHECK(listen_on(options_.port, "--port", &Worker::http));
    return listen_on(options_.grpc_port, "--grpc-port", &Worker::grpc);
  }

  void start() override {
    for (auto& worker : workers_) worker.start();
  }

  std::uint16_t port() const override { return options_.port; }
  std::uint16_t grpc_port() const override { return options_.grpc_port; }

  void drain(std::chrono::seconds grace) override {
    for (auto& worker : workers_) worker.drain();
    asio::io_context context;
    asio::steady_timer limit(context, grace);
    limit.async_wait([this](const error_code& cancelled) {
      if (cancelled) return;
      for (auto& worker : workers_) worker.stop();
    });
    std::thread clock([&] { context.run(); });
    for (auto& worker : workers_) worker.join();
    asio::post(context, [&] { limit.cancel(); });
    clock.join();
  }

 private:
  /// `port` becomes the one that was picked when it is 0. `flag` chooses it.
  Result<void> listen_on(std::uint16_t& port, const char* flag, Listener& (Worker::*which)()) {
    error_code error;
    const auto address = asio::ip::make_address(options_.host == "localhost" ? "127.0.0.1" : options_.host, error);
    if (error) return fail(Code::invalid, "--host " + options_.host + " is not an IP address");
    tcp::endpoint endpoint(address, port);
    // With SO_REUSEPORT a second server would silently share the port: ask for it alone first.
    if (port != 0) {
      asio::io_context context;
      tcp::acceptor probe(context);
      probe.open(endpoint.protocol(), error);
      if (!error) probe.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error) probe.bind(endpoint, error);
      if (error) return refused(port, flag, error);
    }
    for (auto& worker : workers_) {
      auto& listener = (worker.*which)();
      error = listener.listen(endpoint);
      if (error) return refused(port, flag, error);
      port = listener.port();
      endpoint.port(port);
    }
    return {};
  }

  Result<void> refused(std::uint16_t port, const char* flag, const error_code& error) const {
    if (error == asio::error::address_in_use)
      return fail(Code::conflict, "port " + std::to_string(port) +
                                      " is taken by another program; stop it or choose another with " + flag);
    return fail(Code::invalid,
                "cannot listen on " + options_.host + ":" + std::to_string(port) + ": " + error.message());
  }

  ServerOptions options_;
  std::list<Worker> workers_;
};

}  // namespace

Peer::Peer(PeerHost& host) : next(host.first), host_(host) {
  if (next != nullptr) next->previous = this;
  host_.first = this;
}

Peer::~Peer() {
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : host_.first) = next;
}

Result<std::unique_ptr<Server>> Server::listen(const ServerOptions& options, Handler& handler) {
  auto server = std::make_unique<ThreadedServer>(options, handler);
  LATHE_CHECK(server->listen());
  return server;
}

}  // namespace lathe::infer::http
