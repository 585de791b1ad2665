#include "infer/http/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace lathe::infer::http {
namespace {

/// To who sends HTTP in the clear.
constexpr std::string_view kSpeakTls =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 55\r\n\r\n"
    R"({"error":"this port speaks TLS: ask it by https://..."})";

int at_most(std::size_t size) {
  return static_cast<int>(std::min<std::size_t>(size, std::numeric_limits<int>::max()));
}

}  // namespace

void Stream::FreeSsl::operator()(SSL* ssl) const {
  SSL_free(ssl);
}

Stream::Stream(Socket socket, const Tls::Context& context, Side side) : socket_(std::move(socket)) {
  if (!context) return;
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  ssl_.reset(SSL_new(context.get()));
  if (!ssl_ || SSL_set_fd(ssl_.get(), socket_.native_handle()) != 1)
    close();
  else if (side == Side::server)
    SSL_set_accept_state(ssl_.get());
  else
    SSL_set_connect_state(ssl_.get());
}

bool Stream::has_sent() const {
  return ssl_ && SSL_is_init_finished(ssl_.get()) == 1;
}

void Stream::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Stream::shutdown_send() {
  if (ssl_ && SSL_is_init_finished(ssl_.get()) == 1) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
  }
  boost::system::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
}

ssize_t Stream::send(const char* data, std::size_t size) {
  if (!ssl_) return ::send(socket_.native_handle(), data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (!is_open()) return as_closed();
  ERR_clear_error();
  return as_system(SSL_write(ssl_.get(), data, at_most(size)));
}

ssize_t Stream::recv(char* data, std::size_t size) {
  if (!ssl_) return ::recv(socket_.native_handle(), data, size, MSG_DONTWAIT);
  if (!is_open()) return as_closed();
  ERR_clear_error();
  return as_system(SSL_read(ssl_.get(), data, at_most(size)));
}

/// OpenSSL knows the number of the descriptor, which another connection may have by now.
ssize_t Stream::as_closed() {
  wait_.reset();
  errno = EBADF;
  return -1;
}

ssize_t Stream::as_system(int result) {
  wait_.reset();
  if (result > 0) return result;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      wait_ = Socket::wait_read;
      break;
    case SSL_ERROR_WANT_WRITE:
      wait_ = Socket::wait_write;
      break;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST)
        (void)::send(socket_.native_handle(), kSpeakTls.data(), kSpeakTls.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ERR_clear_error();
      errno = ECONNRESET;
      return -1;
  }
  errno = EAGAIN;
  return -1;
}

}  // namespace lathe::infer::http
