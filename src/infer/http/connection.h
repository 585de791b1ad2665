#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/http/server.h"

namespace lathe::infer::http {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
/// Bound to one io_context by its type, which spares the indirections of a general executor.
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

class Connection;

/// What the connections of one thread share. Used on that thread only.
struct ConnectionHost {
  const ServerOptions& options;
  Handler& handler;
  std::int64_t now_s = 0;  ///< a clock that ticks about once a second
  bool draining = false;
  Connection* first = nullptr;  ///< all connections, as a list through `Connection::next`
};

/// One client. Lives while an operation on its socket is under way or an answer is awaited.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, ConnectionHost& host);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start() { read(); }
  /// Closes it when its time is over. Called about once a second.
  void check_time();
  /// Closes it when no request is under way; else after that one. A new connection gets a moment for its first request.
  void drain();
  void close();

  Connection* next = nullptr;
  Connection* previous = nullptr;

 private:
  enum class Next { read, answer_later, flush, close };

  void read();
  void make_room();
  void work();
  Next take_requests();
  void refuse_broken();
  void write_reply(bool keep);
  void send(Next then);
  void sent(Next then);
  void linger();
  void answer(Reply reply);

  ConnectionHost& host_;
  Socket socket_;
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
