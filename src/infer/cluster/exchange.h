#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "infer/http/stream.h"

/// One HTTP/1.1 request to another data plane, on a connection that is kept for the next.
namespace lathe::infer {

/// What became of it.
struct Exchanged {
  enum class Outcome {
    not_sent,  ///< nothing of it has left: it may be asked elsewhere
    lost,      ///< the other side may have begun to compute it
    answered
  };
  Outcome outcome = Outcome::not_sent;
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;
  bool keep = false;  ///< the connection can be used again

  std::string_view header(std::string_view name) const;
};

/// Reads "HTTP/1.1 STATUS ..." with its header lines, up to the empty line. False: it is no such head, or one without a
/// length.
bool read_reply_head(std::string_view head, Exchanged& into, std::size_t& length);

/// A connection to another data plane. Lives while an operation is under way. Used on its io_context's thread only.
class PeerConnection : public std::enable_shared_from_this<PeerConnection> {
 public:
  using Done = std::function<void(Exchanged)>;

  /// `tls`: null for a plain one; else it refuses certificates other than the peer's.
  PeerConnection(http::asio::io_context& io, http::tcp::endpoint to, http::Tls::Context tls);

  /// Nothing has come on it since the last answer: not even its end.
  bool is_usable();
  /// Sends `head`, which it keeps, and `body`, which must stay until `done`, and reads the answer. `done` is called
  /// once, never before this returns; until then the connection belongs to this request.
  void ask(std::string head, std::string_view body, std::chrono::steady_clock::time_point deadline, Done done);
  /// The request that is under way is lost.
  void close();

 private:
  void connect();
  void close_at(std::chrono::steady_clock::time_point time);
  void write_head();
  void write_body();
  void read();
  void take(std::size_t count);
  void end(Exchanged::Outcome outcome);

  http::asio::io_context& io_;
  http::tcp::endpoint to_;
  http::Tls::Context tls_;
  http::Socket connecting_;
  std::unique_ptr<http::Stream> stream_;
  http::asio::steady_timer timer_;
  std::chrono::steady_clock::time_point deadline_;
  std::string head_;
  std::string_view body_;
  std::string in_;
  std::size_t filled_ = 0;
  std::size_t body_start_ = 0;  ///< in `in_`; 0: its head is not whole
  std::size_t length_ = 0;
  Exchanged answer_;
  Done done_;
  bool closed_ = false;
};

/// For connections to a peer that shows the certificate with this SHA-256 (64 hex digits). Null: out of memory.
http::Tls::Context peer_tls(std::string certificate_sha256);

}  // namespace lathe::infer
