#include "infer/grpc/connection.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "base/log.h"
#include "infer/grpc/status.h"
#include "infer/http/departure.h"
#include "infer/http/inflate.h"

namespace lathe::infer::grpc {
namespace {

namespace asio = boost::asio;
using http::Reply;

constexpr std::size_t kRoom = 4096;                        ///< of the buffer that each connection keeps
constexpr std::size_t kMoreRoom = std::size_t{64} << 10;   ///< of the one that a thread's connections share
constexpr std::size_t kReadAtOnce = std::size_t{1} << 20;  ///< before the other connections have their turn
constexpr std::size_t kFlushBytes = std::size_t{256} << 10;
constexpr std::size_t kPseudoHeaders = 4;                  ///< :method, :scheme, :authority, :path
constexpr std::size_t kPrefix = 5;                         ///< before each message: whether it is packed, its size
constexpr std::size_t kOpenBytes = std::size_t{64} << 10;  ///< of a message that needs no key
constexpr std::uint32_t kCallsAtOnce = 256;
constexpr std::uint32_t kFrameBytes = 256U << 10;
constexpr std::uint32_t kCallWindow = 1U << 20;
constexpr std::int32_t kConnectionWindow = 16 << 20;
constexpr std::int64_t kLingerSeconds = 2;

struct Outgoing {
  std::array<char, kPrefix> prefix;
  std::string body;
  std::size_t sent = 0;  ///< of both

  explicit Outgoing(std::string message) : body(std::move(message)) {
    const auto size = static_cast<std::uint32_t>(body.size());
    prefix = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
              static_cast<char>(size)};
  }
  bool done() const { return sent == kPrefix + body.size(); }
  std::size_t copy(char* to, std::size_t room) {
    std::size_t copied = 0;
    if (sent < kPrefix) {
      copied = std::min(room, kPrefix - sent);
      std::memcpy(to, prefix.data() + sent, copied);
      sent += copied;
    }
    if (const auto rest = std::min(room - copied, kPrefix + body.size() - sent); rest > 0) {
      std::memcpy(to + copied, body.data() + (sent - kPrefix), rest);
      sent += rest;
      copied += rest;
    }
    return copied;
  }
};

/// One call.
struct Call {
  std::int32_t id = 0;
  std::string text;  ///< names and values of the headers, one after the other
  std::vector<std::pair<std::size_t, std::size_t>> sizes;
  http::Request request;
  bool too_many_headers = false;
  bool opened = false;       ///< its head was looked at
  bool many = false;         ///< a stream of messages
  std::size_t most = 0;      ///< bytes of one message
  bool half_closed = false;  ///< no more messages come
  bool answering = false;    ///< a message is with the handler
  bool responded = false;    ///< our head is on its way
  bool closed = false;       ///< nobody listens any more
  std::string in;            ///< what has come of messages
  std::size_t taken = 0;     ///< so many bytes of it are done with
  std::string message;       ///< the one that is being answered
  std::string head;          ///< headers of the reply, as whole lines
  std::deque<Outgoing> out;
  std::optional<int> status;  ///< known: the call ends when `out` is empty
  std::string why;

  bool ended() const { return status.has_value(); }
  std::string_view left() const { return std::string_view(in).substr(taken); }
};
using CallPtr = std::shared_ptr<Call>;

nghttp2_nv header(std::string_view name, std::string_view value, std::uint8_t flags = NGHTTP2_NV_FLAG_NO_COPY_NAME) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), flags};
}

/// "Name: value" lines as HTTP/2 wants them. The texts must live as long as the result.
std::vector<nghttp2_nv> lines_to_headers(std::string& lines) {
  std::vector<nghttp2_nv> out;
  std::size_t at = 0;
  while (at < lines.size()) {
    const auto end = std::min(lines.find("\r\n", at), lines.size());
    const auto colon = lines.find(": ", at);
    if (colon < end) {
      for (auto i = at; i < colon; ++i)
        if (lines[i] >= 'A' && lines[i] <= 'Z') lines[i] = static_cast<char>(lines[i] | 0x20);
      out.push_back(
          header({lines.data() + at, colon - at}, {lines.data() + colon + 2, end - colon - 2}, NGHTTP2_NV_FLAG_NONE));
    }
    at = end + 2;
  }
  return out;
}

struct EndSession {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};

Error server_ends() {
  return {Code::unavailable, "the server ends; ask again later", {}};
}

class Connection : public http::Peer, public std::enable_shared_from_this<Connection> {
 public:
  Connection(http::Stream stream, http::PeerHost& host);

  void start() override;
  void check_time() override;
  void drain() override;

 private:
  static const nghttp2_session_callbacks* callbacks();
  static Connection& self(void* user) { return *static_cast<Connection*>(user); }
  Call* find(std::int32_t id) {
    const auto found = calls_.find(id);
    return found == calls_.end() ? nullptr : found->second.get();
  }

  void read();
  void took(std::size_t count);
  bool feed(const char* data, std::size_t size);
  void go_on();
  bool fill();
  void pump();
  void finish();
  void close();

  int take_header(std::int32_t id, std::string_view name, std::string_view value);
  void take_frame(const nghttp2_frame& frame);
  void take_data(std::int32_t id, std::string_view data);
  void drop_input(Call& call);
  void forget(std::int32_t id);

  void advance(const CallPtr& call);
  bool open(Call& call);
  bool take_message(Call& call);
  void ask(const CallPtr& call);
  void answer(Call& call, Reply& reply);
  void refuse(Call& call, const Error& error) { end(call, status_of(error), error.message); }
  void end(Call& call, int status, std::string_view why);
  void respond(Call& call);
  ssize_t copy_out(Call& call, char* to, std::size_t room, std::uint32_t& flags);

  http::Stream stream_;
  std::unique_ptr<nghttp2_session, EndSession> session_;
  std::array<char, kRoom> in_;
  std::string out_;
  std::map<std::int32_t, CallPtr> calls_;
  std::vector<CallPtr> ready_;  ///< those of which something came, or whose last answer is on its way
  std::size_t held_ = 0;        ///< bytes of messages that were not answered yet
  std::int64_t moved_s_;        ///< when bytes last went either way
  bool writing_ = false;
  bool ending_ = false;
};

Connection::Connection(http::Stream stream, http::PeerHost& host)
    : Peer(host), stream_(std::move(stream)), moved_s_(host.now_s) {}

const nghttp2_session_callbacks* Connection::callbacks() {
  static const auto* const kCallbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
          if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
          auto& call = self(user).calls_[frame->hd.stream_id];
          call = std::make_shared<Call>();
          call->id = frame->hd.stream_id;
          return 0;
        });
    nghttp2_session_callbacks_set_on_header_callback(
        made, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                 const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
          if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
          return self(user).take_header(frame->hd.stream_id, {reinterpret_cast<const char*>(name), name_size},
                                        {reinterpret_cast<const char*>(value), value_size});
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(made,
                                                         [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
                                                           self(user).take_frame(*frame);
                                                           return 0;
                                                         });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        made, [](nghttp2_session* session, const nghttp2_frame* frame, void* user) {
          // A call that ended before its client had said all: it need not go on.
          const auto* const call = self(user).find(frame->hd.stream_id);
          if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
              call != nullptr && !call->half_closed)
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        made,
        [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user) {
          self(user).take_data(id, {reinterpret_cast<const char*>(data), size});
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        made, [](nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
          self(user).forget(id);
          return 0;
        });
    return made;
  }();
  return kCallbacks;
}

void Connection::start() {
  nghttp2_session* made = nullptr;
  if (nghttp2_session_server_new(&made, callbacks(), this) != 0) return close();
  session_.reset(made);
  const std::array settings{nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kCallsAtOnce},
                            nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kCallWindow},
                            nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kFrameBytes},
                            nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
                                                   static_cast<std::uint32_t>(host_.options.limits.head_bytes)}};
  nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  pump();
  read();
}

void Connection::close() {
  stream_.close();
}

void Connection::check_time() {
  if (ending_) {
    if (host_.now_s >= moved_s_ + kLingerSeconds) close();
    return;
  }
  const auto quiet = std::chrono::seconds(host_.now_s - moved_s_);
  if (calls_.empty() && !writing_) {
    if (quiet < host_.options.idle_limit) return;
    nghttp2_session_terminate_session(session_.get(), NGHTTP2_NO_ERROR);
    return pump();
  }
  // A stream of messages may pause; half a message, or a reply that is not taken, may not.
  const bool stuck = writing_ || std::any_of(calls_.begin(), calls_.end(), [](const auto& each) {
                       const auto& call = *each.second;
                       return !call.out.empty() || (!call.answering && (!call.many || !call.left().empty()));
                     });
  if (stuck && quiet >= host_.options.body_limit) close();
}

void Connection::drain() {
  nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_.get()),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  for (const auto& [id, call] : calls_)
    if (!call->answering && !call->ended()) refuse(*call, server_ends());
  pump();
}

void Connection::read() {
  stream_.async_read_some(asio::buffer(in_),
                          [self = shared_from_this()](const boost::system::error_code& error, std::size_t count) {
                            if (error) return self->close();
                            self->took(count);
                          });
}

void Connection::took(std::size_t count) {
  if (ending_) return read();
  moved_s_ = host_.now_s;
  bool good = feed(in_.data(), count);
  thread_local std::vector<char> more(kMoreRoom);
  for (std::size_t all = count; good && count == kRoom && all < kReadAtOnce;) {
    const auto got = stream_.recv(more.data(), more.size());
    if (got <= 0) break;  // an end shows when it is read again
    good = feed(more.data(), static_cast<std::size_t>(got));
    all += static_cast<std::size_t>(got);
  }
  if (!good) return close();
  go_on();
  pump();
  if (stream_.is_open()) read();
}

bool Connection::feed(const char* data, std::size_t size) {
  return nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(data), size) >= 0;
}

void Connection::go_on() {
  for (const auto& call : std::exchange(ready_, {})) advance(call);
}

/// Fills `out_`, and goes on with the calls whose last message has found room there. False: the connection is broken.
bool Connection::fill() {
  for (;;) {
    for (const std::uint8_t* data = nullptr; out_.size() < kFlushBytes;) {
      const auto size = nghttp2_session_mem_send(session_.get(), &data);
      if (size < 0) return false;
      if (size == 0) break;
      out_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
    if (ready_.empty() || out_.size() >= kFlushBytes) return true;
    go_on();
  }
}

/// Sends what there is to send, and answers on as fast as the client takes it.
void Connection::pump() {
  while (!writing_ && !ending_ && stream_.is_open()) {
    if (!fill()) return close();
    if (out_.empty()) break;
    const auto count = stream_.send(out_.data(), out_.size());
    if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return close();
    const auto sent = count > 0 ? static_cast<std::size_t>(count) : 0;
    moved_s_ = host_.now_s;
    if (sent == out_.size()) {
      out_.clear();
      continue;
    }
    writing_ = true;
    stream_.async_write(asio::buffer(out_.data() + sent, out_.size() - sent),
                        [own = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                          own->writing_ = false;
                          if (error) return own->close();
                          own->moved_s_ = own->host_.now_s;
                          own->out_.clear();
                          own->pump();
                        });
  }
  if (writing_ || ending_) return;
  if (out_.capacity() > 2 * kFlushBytes) out_.shrink_to_fit();
  const bool over = nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0;
  if (over || (host_.draining && calls_.empty())) finish();
}

/// Ends the sending side and reads away what still comes: closing at once would reset the connection, and the reset can
/// reach the client before the last replies do.
void Connection::finish() {
  ending_ = true;
  moved_s_ = host_.now_s;
  stream_.shutdown_send();
}

int Connection::take_header(std::int32_t id, std::string_view name, std::string_view value) {
  auto* const call = find(id);
  if (call == nullptr) return 0;
  const auto& limits = host_.options.limits;
  if (call->sizes.size() == limits.headers + kPseudoHeaders ||
      call->text.size() + name.size() + value.size() > limits.head_bytes)
    call->too_many_headers = true;
  if (call->too_many_headers) return 0;
  call->text += name;
  call->text += value;
  call->sizes.emplace_back(name.size(), value.size());
  return 0;
}

void Connection::take_frame(const nghttp2_frame& frame) {
  if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return;
  const auto found = calls_.find(frame.hd.stream_id);
  if (found == calls_.end()) return;
  if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) found->second->half_closed = true;
  if (ready_.empty() || ready_.back() != found->second) ready_.push_back(found->second);
}

void Connection::take_data(std::int32_t id, std::string_view data) {
  auto* const call = find(id);
  if (call == nullptr || call->ended()) return;
  if (held_ + data.size() > host_.options.limits.body_bytes + kPrefix)
    return refuse(*call, {Code::exhausted,
                          "the messages that this connection has sent and that are not answered yet are larger than " +
                              std::to_string(host_.options.limits.body_bytes) + " bytes",
                          {}});
  call->in += data;
  held_ += data.size();
}

void Connection::drop_input(Call& call) {
  held_ -= call.left().size();
  call.in.clear();
  call.taken = 0;
}

void Connection::forget(std::int32_t id) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  auto& call = *found->second;
  const auto departure = call.request.departure;
  call.closed = true;
  drop_input(call);
  calls_.erase(found);
  if (departure) departure->happen();
}

/// Goes on with a call of which something came, or whose last answer is on its way: a client that does not read gets no
/// further ones.
void Connection::advance(const CallPtr& call) {
  if (call->closed || call->ended() || (!call->opened && !open(*call))) return;
  if (!call->answering && call->out.empty() && take_message(*call)) ask(call);
}

/// Looks at the head. False: refused.
bool Connection::open(Call& call) {
  call.opened = true;
  if (call.too_many_headers) {
    const auto& limits = host_.options.limits;
    refuse(call, {Code::exhausted,
                  "the call's metadata has more than " + std::to_string(limits.headers) + " entries or " +
                      std::to_string(limits.head_bytes) + " bytes; send less",
                  {}});
    return false;
  }
  std::string_view rest = call.text;
  const auto take = [&](std::size_t size) {
    const auto taken = rest.substr(0, size);
    rest.remove_prefix(size);
    return taken;
  };
  auto& request = call.request;
  request.grpc = true;
  for (const auto& [name_size, value_size] : call.sizes) {
    const auto name = take(name_size);
    const auto value = take(value_size);
    if (name == ":method")
      request.method = value;
    else if (name == ":path")
      request.path = value;
    else if (!name.starts_with(':'))
      request.headers.push_back({name, value});
  }
  if (request.method != "POST" || !request.header("content-type").starts_with("application/grpc")) {
    const std::array head{header(":status", "415")};
    nghttp2_submit_response(session_.get(), call.id, head.data(), head.size(), nullptr);
    call.status = 0;
    return false;
  }
  if (const auto timeout = request.header("grpc-timeout"); !timeout.empty()) {
    request.timeout = parse_timeout(timeout);
    if (!request.timeout) {
      refuse(call, {Code::invalid, "the header grpc-timeout is not a number with its unit", {}});
      return false;
    }
  }
  const auto method = host_.handler.grpc_method(request.path);
  call.many = method.streams;
  call.most = host_.options.limits.body_bytes;
  if (method.open) call.most = std::min(call.most, kOpenBytes);
  Reply refusal;
  if (host_.handler.admit(request, refusal)) return true;
  answer(call, refusal);
  return false;
}

/// Takes the next message off `in`. False when there is none yet, and when the call ends here.
bool Connection::take_message(Call& call) {
  const auto left = call.left();
  if (left.size() < kPrefix) {
    if (!call.half_closed) return false;
    if (!left.empty() || (!call.many && !call.responded))
      refuse(call, {Code::invalid, "the call ended before its message", {}});
    else
      end(call, 0, {});
    return false;
  }
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(left[i])); };
  const auto size = byte(1) << 24 | byte(2) << 16 | byte(3) << 8 | byte(4);
  if (size > call.most) {
    refuse(call, {Code::exhausted,
                  "the message has " + std::to_string(size) + " bytes; the most is " + std::to_string(call.most),
                  {}});
    return false;
  }
  const auto whole = kPrefix + size;
  if (left.size() < whole || (!call.many && !call.half_closed)) {
    if (call.half_closed || (!call.many && left.size() > whole))
      refuse(call, {Code::invalid, "a message is shorter or longer than its prefix says; send it whole", {}});
    return false;
  }
  const bool packed = left[0] != 0;
  if (call.in.size() == whole) {
    call.message = std::move(call.in);
    call.in.clear();
    call.request.body = std::string_view(call.message).substr(kPrefix);
  } else {
    call.message.assign(left, kPrefix, size);
    call.request.body = call.message;
    call.taken += whole;
    if (call.taken > call.in.size() / 2) {  // so that each byte is moved once, however many messages there are
      call.in.erase(0, call.taken);
      call.taken = 0;
    }
  }
  held_ -= whole;
  if (!packed) return true;
  const auto encoding = call.request.header("grpc-encoding");
  auto plain = http::inflate(encoding, call.request.body, call.most);
  if (!plain) {
    if (plain.error().code == Code::unsupported_media) {
      call.head = "grpc-accept-encoding: identity,deflate,gzip\r\n";
      plain.error().foreign_code = kUnimplemented;
    }
    refuse(call, plain.error());
    return false;
  }
  call.message = std::move(*plain);
  call.request.body = call.message;
  return true;
}

void Connection::ask(const CallPtr& call) {
  Reply reply;
  call->answering = true;
  if (!call->request.departure) call->request.departure = std::make_shared<http::Departure>();
  const auto put_off = [this, &call]() -> http::Answer {
    return [own = shared_from_this(), call](Reply given) mutable {
      // The connection goes along: its last owner must be its own thread.
      const auto executor = own->stream_.get_executor();
      asio::post(executor, [own = std::move(own), call = std::move(call), given = std::move(given)]() mutable {
        own->answer(*call, given);
        own->pump();
      });
    };
  };
  if (host_.handler.handle(call->request, reply, put_off)) answer(*call, reply);
}

void Connection::answer(Call& call, Reply& reply) {
  call.answering = false;
  if (call.request.departure) call.request.departure->forget();  // a call that was refused had none
  if (call.message.size() > kFlushBytes) call.message = {};
  if (call.closed || call.ended()) return;
  if (!call.responded) call.head = std::move(reply.headers);
  if (reply.error) return refuse(call, *reply.error);
  call.out.emplace_back(std::move(reply.body));
  if (!call.many) call.status = 0;
  if (call.many && host_.draining) return refuse(call, server_ends());
  respond(call);
}

void Connection::end(Call& call, int status, std::string_view why) {
  call.status = status;
  call.why = percent_encode(why);
  drop_input(call);
  respond(call);
}

/// Begins the response, or wakes it up.
void Connection::respond(Call& call) {
  if (std::exchange(call.responded, true)) {
    nghttp2_session_resume_data(session_.get(), call.id);
    return;
  }
  auto head = lines_to_headers(call.head);
  head.insert(head.begin(), {header(":status", "200"), header("content-type", "application/grpc")});
  if (call.out.empty()) {
    const auto number = std::to_string(*call.status);
    head.push_back(header("grpc-status", number));
    if (!call.why.empty()) head.push_back(header("grpc-message", call.why));
    nghttp2_submit_response(session_.get(), call.id, head.data(), head.size(), nullptr);
    return;
  }
  nghttp2_data_provider source{};
  source.source.ptr = &call;
  source.read_callback = [](nghttp2_session*, std::int32_t, std::uint8_t* to, std::size_t room, std::uint32_t* flags,
                            nghttp2_data_source* from, void* user) -> ssize_t {
    return self(user).copy_out(*static_cast<Call*>(from->ptr), reinterpret_cast<char*>(to), room, *flags);
  };
  nghttp2_submit_response(session_.get(), call.id, head.data(), head.size(), &source);
}

ssize_t Connection::copy_out(Call& call, char* to, std::size_t room, std::uint32_t& flags) {
  std::size_t copied = 0;
  while (copied < room && !call.out.empty()) {
    copied += call.out.front().copy(to + copied, room - copied);
    if (call.out.front().done()) call.out.pop_front();
  }
  if (copied > 0 && call.out.empty() && !call.ended()) ready_.push_back(calls_.at(call.id));
  if (call.out.empty() && call.ended()) {
    flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    const auto number = std::to_string(*call.status);
    std::array trailers{header("grpc-status", number), header("grpc-message", call.why)};
    nghttp2_submit_trailer(session_.get(), call.id, trailers.data(), call.why.empty() ? 1 : 2);
  } else if (copied == 0) {
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(copied);
}

}  // namespace

std::shared_ptr<http::Peer> make_connection(http::Stream stream, http::PeerHost& host) {
  return std::make_shared<Connection>(std::move(stream), host);
}

}  // namespace lathe::infer::grpc
