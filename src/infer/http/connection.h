#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/http/departure.h"
#include "infer/http/peer.h"

namespace lathe::infer::http {

/// A client that speaks HTTP/1.1.
class Connection : public Peer, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Stream stream, PeerHost& host);

  void start() override { read(); }
  void check_time() override;
  /// A new connection gets a moment for its first request.
  void drain() override;

 private:
  enum class Next { read, answer_later, flush, close };

  void close();
  void read();
  void make_room();
  void give_back_room();
  void work();
  Next take_requests();
  void refuse_broken();
  void write_reply(bool keep);
  void send(Next then);
  void sent(Next then);
  void linger();
  void answer(Reply reply);
  /// The client has closed the connection, or its side of it.
  bool client_has_gone();

  Stream stream_;
  std::shared_ptr<Departure> departure_ = std::make_shared<Departure>();
  RequestParser parser_;
  std::vector<char> in_;
  std::size_t begin_ = 0;  ///< of the current request in `in_`
  std::size_t end_ = 0;
  std::string out_;
  Reply reply_;
  std::int64_t deadline_s_;
  bool admitted_ = false;
  bool answered_ = false;  ///< at least one request
  bool waiting_ = false;   ///< for an answer that was put off
  bool writing_ = false;
  bool lingering_ = false;
};

}  // namespace lathe::infer::http
