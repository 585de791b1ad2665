#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

/// TLS 1.2 by mbedTLS, and the digest that comes with it.
namespace lathe::remote {

/// A TLS client over a connected, blocking socket.
class Tls {
 public:
  Tls();
  ~Tls();
  Tls(const Tls&) = delete;

  /// Shakes hands. `pin`: the SHA-256 of the server's certificate, 64 hex digits; empty: it must be signed by one of
  /// those that this machine trusts, for `host`. False with a sentence in `error`.
  bool begin(int socket, const std::string& host, const std::string& pin, std::string& error);
  /// As recv(2) and send(2): 0 at the end, negative for an error.
  long read(char* into, std::size_t size);
  long write(const char* bytes, std::size_t size);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 in pieces.
class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  void update(std::string_view bytes);
  /// 64 lower-case hex digits. Call once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::remote
