#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"

using SSL_CTX = struct ssl_ctx_st;

namespace lathe::infer::http {

/// The certificate of the ports, which may be replaced on disk at any time. Thread-safe.
class Tls {
 public:
  using Context = std::shared_ptr<SSL_CTX>;

  /// PEM files. Errors: `invalid` — they cannot be read, or do not belong together.
  static Result<std::unique_ptr<Tls>> load(const std::filesystem::path& certificate, const std::filesystem::path& key);

  /// For new connections of HTTP/1.1, and of gRPC, whose clients must offer "h2" where they offer anything.
  Context http() const { return http_.load(std::memory_order_acquire); }
  Context grpc() const { return grpc_.load(std::memory_order_acquire); }
  /// The SHA-256 of the certificate, as 64 hex digits.
  std::string fingerprint() const { return *fingerprint_.load(std::memory_order_acquire); }

  /// Reads files that have changed; until a certificate and its key are both there and whole the old ones go on.
  /// True: there is a new certificate. For one thread.
  bool refresh();

 private:
  Tls(std::filesystem::path certificate, std::filesystem::path key);
  Result<void> read();
  std::string stamp() const;

  const std::filesystem::path certificate_;
  const std::filesystem::path key_;
  std::string read_stamp_;  ///< tells whether the files are those that were read last
  std::atomic<Context> http_;
  std::atomic<Context> grpc_;
  std::atomic<std::shared_ptr<const std::string>> fingerprint_;
};

}  // namespace lathe::infer::http
