#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace lathe::http {

struct ClientOptions {
  std::string url;         ///< "http://127.0.0.1:8080"
  std::string token = {};  ///< sent as Bearer; may be empty
  std::string authorization = {};  ///< sent as it is, in place of the token
  std::string certificate_sha256 =
      {};  ///< pinned: 64 hex digits of the server certificate's SHA-256; empty: the system's trust
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds timeout{120000};  ///< for a whole request; streams and files have none
};

struct ClientResponse {
  int status = 0;
  std::string type;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  ///< names in lower case
};

/// A blocking HTTP client over libcurl that keeps its connection. One thread at a time. Redirects are not followed, and
/// no proxy is used for loopback addresses.
///
/// Errors of all calls: `unavailable` — nobody answers there, or the connection broke; `timeout`; `unauthenticated` —
/// the certificate is not trusted, or not the pinned one. Any status is an answer.
class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  using Headers = std::vector<std::pair<std::string, std::string>>;

  /// A body is sent as application/json unless `headers` names another Content-Type.
  Result<ClientResponse> request(std::string_view method, const std::string& path, std::string_view body = {},
                                 const Headers& headers = {});
  /// As `request`, giving the body of a 2xx answer away as it comes. `piece` is also called with nothing about once a
  /// second. Return false from it to stop.
  Result<ClientResponse> stream(std::string_view method, const std::string& path,
                                const std::function<bool(std::string_view)>& piece, const Headers& headers = {});
  /// Sends a file's content as the body, streamed. Errors also: as `errno_error`.
  Result<ClientResponse> put_file(const std::string& path, const std::string& file);
  /// Writes the body of a 2xx answer to a file, streamed; a broken download leaves nothing. Errors also: as
  /// `errno_error`.
  Result<ClientResponse> get_file(const std::string& path, const std::string& file);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The SHA-256 of the certificate that the server at `url` (https) shows, without trusting it: for `lathe login`.
Result<std::string> certificate_fingerprint(const std::string& url);

}  // namespace lathe::http
