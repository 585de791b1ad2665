#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// HTTP as S3 needs it, over libcurl: bodies that come piece by piece, at the pace of whoever takes them.
namespace lathe::storage {

struct ExchangeRequest {
  std::string method;
  std::string url;
  std::vector<std::string> headers;  ///< "name: value"
  std::string_view body;             ///< must live as long as the exchange
};

/// Connections that are kept between exchanges. Thread-safe.
class Connections {
 public:
  /// `ca_bundle`: a PEM file to trust in place of the system's; may be empty.
  explicit Connections(std::string ca_bundle);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  /// Running and later exchanges end with `unavailable`.
  void interrupt() { interrupted_ = true; }
  bool interrupted() const { return interrupted_; }

 private:
  friend class Exchange;
  struct Connection;
  std::unique_ptr<Connection> take();
  void give_back(std::unique_ptr<Connection> connection);

  std::string ca_bundle_;
  std::atomic<bool> interrupted_ = false;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

/// One request and its answer, driven by the thread that calls: between calls nothing moves. One thread at a time.
/// Errors of all calls: `unavailable` — the other side cannot be reached, or the connection broke or stood still.
class Exchange {
 public:
  Exchange(Connections& connections, ExchangeRequest request);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Sends the request and waits for the answer's status and headers.
  Result<void> head();
  int status() const { return status_; }
  /// Of the answer; the name in lower case. Empty when it is not there.
  std::string header(std::string_view name) const;
  /// Appends what comes next of the body, up to about 512 KiB. False: that was the last of it.
  Result<bool> read(std::string& out);

  /// After an error: whether the other side may have got the request.
  bool may_have_arrived() const { return connected_; }

 private:
  struct Callbacks;
  friend struct Callbacks;
  Result<void> drive(const std::function<bool()>& enough);

  Connections& connections_;
  std::unique_ptr<Connections::Connection> connection_;
  ExchangeRequest request_;
  void* header_list_ = nullptr;
  int status_ = 0;
  std::vector<std::pair<std::string, std::string>> headers_;
  bool head_done_ = false;
  bool paused_ = false;
  bool done_ = false;
  bool connected_ = true;
  int code_ = 0;  ///< libcurl's, when done
  std::string body_;
};

}  // namespace lathe::storage
