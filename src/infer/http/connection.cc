#include "infer/http/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <limits>
#include <utility>

namespace lathe::infer::http {
namespace {

constexpr std::size_t kFirstRoom = 4096;
constexpr std::size_t kKeptRoom = std::size_t{1} << 20;    ///< a larger buffer is given back after its request
constexpr std::size_t kSpareRoom = std::size_t{16} << 20;  ///< the largest that its thread keeps for the next one
constexpr std::size_t kFlushBytes = std::size_t{256} << 10;
constexpr std::size_t kPadding = 64;  ///< readable bytes that simdjson wants after a body
constexpr std::int64_t kLingerSeconds = 2;
constexpr std::int64_t kFirstRequestSeconds = 1;

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 424:
      return "Failed Dependency";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

}  // namespace

Connection::Connection(Stream stream, PeerHost& host)
    : Peer(host),
      stream_(std::move(stream)),
      parser_(host.options.limits, departure_),
      in_(kFirstRoom),
      deadline_s_(host.now_s + host.options.idle_limit.count()) {}

void Connection::close() {
  stream_.close();
}

void Connection::check_time() {
  if (!waiting_ && host_.now_s >= deadline_s_) close();
  if (waiting_ && departure_->is_awaited() && client_has_gone()) departure_->happen();
}

bool Connection::client_has_gone() {
  pollfd watched{stream_.native_handle(), POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0;
}

void Connection::drain() {
  if (waiting_ || writing_ || begin_ != end_) return;
  char byte = 0;
  const bool asked = ::recv(stream_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  if (asked) return;  // its next request is here, and will be its last
  if (answered_)
    close();
  else  // its first request may be on its way
    deadline_s_ = std::min(deadline_s_, host_.now_s + kFirstRequestSeconds);
}

void Connection::make_room() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    give_back_room();
  }
  if (in_.size() - end_ >= kPadding + kFirstRoom / 8) return;
  if (begin_ > 0) {
    std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const auto missing = parser_.missing(end_);
  if (missing > kKeptRoom && host_.spare.size() > missing && host_.spare.size() - missing >= end_ + kPadding) {
    std::memcpy(host_.spare.data(), in_.data(), end_);  // memory that is there already
    in_ = std::exchange(host_.spare, {});
    return;
  }
  // Twice what is there at most, so that a length that a client only claims costs nothing.
  const auto wanted = std::min(missing, std::max(end_, kFirstRoom));
  if (in_.size() < end_ + wanted + kPadding) in_.resize(end_ + wanted + kPadding);
}

void Connection::give_back_room() {
  if (in_.size() <= kKeptRoom) return;
  if (in_.size() <= kSpareRoom && in_.size() > host_.spare.size()) host_.spare.swap(in_);
  in_ = std::vector<char>(kFirstRoom);
}

void Connection::read() {
  make_room();
  const auto limit = begin_ == end_            ? host_.options.idle_limit
                     : parser_.head_complete() ? host_.options.body_limit
                                               : host_.options.head_limit;
  // A head that comes byte by byte does not move its deadline.
  if (begin_ == end_ || parser_.head_complete())
    deadline_s_ = host_.now_s + limit.count();
  else
    deadline_s_ = std::min(deadline_s_, host_.now_s + limit.count());
  stream_.async_read_some(asio::buffer(in_.data() + end_, in_.size() - end_ - kPadding),
                          [self = shared_from_this()](const boost::system::error_code& error, std::size_t count) {
                            if (error) return self->close();
                            self->end_ += count;
                            self->work();
                          });
}

void Connection::work() {
  const auto then = take_requests();
  if (then == Next::answer_later) return;
  if (out_.empty() && then == Next::read) return read();
  send(then);
}

/// Answers the requests that are there, into `out_`.
Connection::Next Connection::take_requests() {
  for (;;) {
    const auto status = parser_.parse(in_.data() + begin_, end_ - begin_);
    if (status == RequestParser::Status::error) {
      refuse_broken();
      return Next::close;
    }
    if (status == RequestParser::Status::need_more) {
      if (!parser_.head_complete() || admitted_) return Next::read;
      admitted_ = true;
      if (!host_.handler.admit(parser_.request(), reply_)) {
        write_reply(false);
        return Next::close;
      }
      if (parser_.expects_continue()) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      return Next::read;
    }
    const auto put_off = [this]() -> Answer {
      waiting_ = true;
      return [self = shared_from_this()](Reply reply) mutable {
        // The connection goes along: its last owner must be its own thread.
        const auto executor = self->stream_.get_executor();
        asio::post(executor,
                   [own = std::move(self), given = std::move(reply)]() mutable { own->answer(std::move(given)); });
      };
    };
    if (!host_.handler.handle(parser_.request(), reply_, put_off)) return Next::answer_later;
    const bool keep = parser_.request().keep_alive && !host_.draining;
    write_reply(keep);
    if (!keep) return Next::close;
    if (out_.size() >= kFlushBytes) return Next::flush;
  }
}

void Connection::refuse_broken() {
  reply_.status = parser_.status_code();
  reply_.content_type = "application/json";
  reply_.headers.clear();
  reply_.body = fmt::format("{{\"error\":\"{}\"}}", parser_.error());
  write_reply(false);
}

void Connection::answer(Reply reply) {
  waiting_ = false;
  departure_->forget();
  reply_ = std::move(reply);
  const bool keep = parser_.request().keep_alive && !host_.draining;
  write_reply(keep);
  if (keep)
    work();
  else
    send(Next::close);
}

/// Appends `reply_` and goes on to the next request.
void Connection::write_reply(bool keep) {
  char head[160];
  const auto end = fmt::format_to_n(head, sizeof head, "HTTP/1.1 {} {}\r\nContent-Length: {}\r\n", reply_.status,
                                    reason(reply_.status), reply_.body.size());
  out_.append(head, std::min(end.size, sizeof head));
  if (reply_.content_type != nullptr) out_.append("Content-Type: ").append(reply_.content_type).append("\r\n");
  out_ += reply_.headers;
  out_ += keep ? "\r\n" : "Connection: close\r\n\r\n";
  if (parser_.request().method != "HEAD") out_ += reply_.body;
  reply_.status = 200;
  reply_.content_type = "application/json";
  reply_.headers.clear();
  reply_.body.clear();
  reply_.error.reset();
  begin_ += parser_.consumed();
  parser_.reset();
  admitted_ = false;
  answered_ = true;
}

void Connection::send(Next then) {
  // Nearly always the socket takes it all at once, which spares the operation.
  const auto count = stream_.send(out_.data(), out_.size());
  const auto written = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (written == out_.size()) return sent(then);
  if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return close();
  writing_ = true;
  deadline_s_ = host_.now_s + host_.options.body_limit.count() + static_cast<std::int64_t>(out_.size() >> 20);
  stream_.async_write(asio::buffer(out_.data() + written, out_.size() - written),
                      [self = shared_from_this(), then](const boost::system::error_code& error, std::size_t) {
                        self->writing_ = false;
                        if (error) return self->close();
                        self->sent(then);
                      });
}

void Connection::sent(Next then) {
  out_.clear();
  if (out_.capacity() > kKeptRoom) out_.shrink_to_fit();
  switch (then) {
    case Next::read:
      return read();
    case Next::close:
      return linger();
    default:
      // Posted, so that a client that sends without end does not keep the thread.
      asio::post(stream_.get_executor(), [self = shared_from_this()] { self->work(); });
  }
}

/// Ends the sending side and reads away what still comes: closing at once would reset the connection, and the reset can
/// reach the client before the reply does.
void Connection::linger() {
  if (!lingering_) {
    lingering_ = true;
    stream_.shutdown_send();
    deadline_s_ = host_.now_s + kLingerSeconds;
    begin_ = end_ = 0;
  }
  stream_.async_read_some(asio::buffer(in_.data(), in_.size()),
                          [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                            if (error) return self->close();
                            self->linger();
                          });
}

}  // namespace lathe::infer::http
