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
#include "infer/http/connection.h"

namespace lathe::infer::http {
namespace {

using boost::system::error_code;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

std::int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One thread with its listening socket and its connections.
class Worker {
 public:
  Worker(const ServerOptions& options, Handler& handler)
      : host_{options, handler, seconds_now()},
        context_(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO),  // sockets stay on the thread; only `post` comes from others
        acceptor_(context_),
        retry_(context_),
        tick_(context_) {}

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

  void start() {
    accept();
    tick();
    thread_ = std::thread([this] { context_.run(); });
  }

  void drain() {
    asio::post(context_, [this] {
      host_.draining = true;
      accept_waiting();
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
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
  void accept() {
    acceptor_.async_accept([this](const error_code& error, Socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return accept_after_pause(error);
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Connection>(std::move(socket), host_)->start();
      accept();
    });
  }

  /// Takes those who have connected already: closing the listening socket would reset them.
  void accept_waiting() {
    error_code error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      Socket socket(context_);
      acceptor_.accept(socket, error);
      if (!error) std::make_shared<Connection>(std::move(socket), host_)->start();
    }
  }

  /// No descriptors are left, for example: others close soon.
  void accept_after_pause(const error_code& error) {
    log::warn("cannot accept a connection error=\"{}\"", error.message());
    retry_.expires_after(std::chrono::milliseconds(200));
    retry_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) accept();
    });
  }

  void tick() {
    host_.now_s = seconds_now();
    for (auto* each = host_.first; each != nullptr; each = each->next) each->check_time();
    if (host_.draining && host_.first == nullptr) return;
    tick_.expires_after(host_.draining ? std::chrono::milliseconds(20) : std::chrono::milliseconds(1000));
    tick_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) tick();
    });
  }

  ConnectionHost host_;  // outlives the connections that the context holds
  asio::io_context context_;
  asio::basic_socket_acceptor<tcp, asio::io_context::executor_type> acceptor_;
  asio::steady_timer retry_;
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
    error_code error;
    const auto address = asio::ip::make_address(options_.host == "localhost" ? "127.0.0.1" : options_.host, error);
    if (error) return fail(Code::invalid, "--host " + options_.host + " is not an IP address");
    tcp::endpoint endpoint(address, options_.port);
    // With SO_REUSEPORT a second server would silently share the port: ask for it alone first.
    if (options_.port != 0) {
      asio::io_context context;
      tcp::acceptor probe(context);
      probe.open(endpoint.protocol(), error);
      if (!error) probe.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error) probe.bind(endpoint, error);
      if (error) return refused(endpoint, error);
    }
    for (auto& worker : workers_) {
      error = worker.listen(endpoint);
      if (error) return refused(endpoint, error);
      endpoint.port(worker.port());
    }
    return {};
  }

  void start() override {
    for (auto& worker : workers_) worker.start();
  }

  std::uint16_t port() const override { return workers_.front().port(); }

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
  Result<void> refused(const tcp::endpoint& endpoint, const error_code& error) const {
    if (error == asio::error::address_in_use)
      return fail(Code::conflict, "port " + std::to_string(endpoint.port()) +
                                      " is taken by another program; stop it or choose another with --port");
    return fail(Code::invalid,
                "cannot listen on " + options_.host + ":" + std::to_string(endpoint.port()) + ": " + error.message());
  }

  ServerOptions options_;
  std::list<Worker> workers_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(const ServerOptions& options, Handler& handler) {
  auto server = std::make_unique<ThreadedServer>(options, handler);
  LATHE_CHECK(server->listen());
  return server;
}

}  // namespace lathe::infer::http
