#pragma once

#include <sys/types.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <optional>

#include "infer/http/tls.h"

using SSL = struct ssl_st;

namespace lathe::infer::http {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
/// Bound to one io_context by its type, which spares the indirections of a general executor.
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

/// A connected socket, plain or with TLS. Used on its own thread only. At most one read and one write are under way;
/// who owns the stream must live until they have ended.
class Stream {
 public:
  enum class Side { server, client };

  /// `context`: null for a plain one.
  Stream(Socket socket, const Tls::Context& context, Side side = Side::server);

  auto get_executor() { return socket_.get_executor(); }
  bool is_open() const { return socket_.is_open(); }
  int native_handle() { return socket_.native_handle(); }
  /// Whether TLS has let bytes through: before its handshake is done, none of what was written has left.
  bool has_sent() const;
  void close();
  /// No more bytes are sent.
  void shutdown_send();

  /// As ::send and ::recv that never wait: -1 with EAGAIN where the socket takes or has nothing.
  ssize_t send(const char* data, std::size_t size);
  ssize_t recv(char* data, std::size_t size);

  /// `handler(error_code, count)`, never before this returns.
  template <class Handler>
  void async_read_some(asio::mutable_buffer buffer, Handler handler) {
    if (!ssl_) return socket_.async_read_some(buffer, std::move(handler));
    tls_read(buffer, std::move(handler));
  }
  /// All of it.
  template <class Handler>
  void async_write(asio::const_buffer buffer, Handler handler) {
    if (!ssl_)
      asio::async_write(socket_, buffer, std::move(handler));
    else
      tls_write(buffer, buffer.size(), std::move(handler));
  }

 private:
  using Wait = Socket::wait_type;
  struct FreeSsl {
    void operator()(SSL* ssl) const;
  };

  ssize_t as_system(int result);
  ssize_t as_closed();

  template <class Handler>
  void tls_read(asio::mutable_buffer buffer, Handler handler) {
    const auto count = recv(static_cast<char*>(buffer.data()), buffer.size());
    go_on(
        count, [this, buffer](Handler next) { tls_read(buffer, std::move(next)); }, std::move(handler),
        static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }

  template <class Handler>
  void tls_write(asio::const_buffer left, std::size_t all, Handler handler) {
    ssize_t count = 1;
    while (count > 0 && left.size() > 0) {
      count = send(static_cast<const char*>(left.data()), left.size());
      if (count > 0) left += static_cast<std::size_t>(count);
    }
    go_on(
        count, [this, left, all](Handler next) { tls_write(left, all, std::move(next)); }, std::move(handler), all);
  }

  /// Calls the handler, from the loop, or tries again when the socket is ready.
  template <class Again, class Handler>
  void go_on(ssize_t count, Again again, Handler handler, std::size_t done) {
    if (count < 0 && wait_) {
      socket_.async_wait(*wait_, [again = std::move(again),
                                  handler = std::move(handler)](const boost::system::error_code& error) mutable {
        if (error) return handler(error, std::size_t{0});
        again(std::move(handler));
      });
      return;
    }
    boost::system::error_code error;
    if (count == 0) error = asio::error::eof;
    if (count < 0) error = asio::error::connection_reset;
    asio::post(get_executor(), [handler = std::move(handler), error, done]() mutable { handler(error, done); });
  }

  Socket socket_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  std::optional<Wait> wait_;  ///< after -1: what it waits for
};

}  // namespace lathe::infer::http
