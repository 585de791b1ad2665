// The only file that knows Beast. Sockets live as coroutines on one I/O thread; handlers run on the pool, or, for async
// routes, on the I/O thread itself. g++ 12.2 destroys temporaries of co_await expressions twice: everything is named.
#include "http/server.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/beast/version.hpp>
#include <condition_variable>
#include <future>
#include <set>
#include <mutex>
#include <thread>

#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"

namespace lathe::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;

constexpr auto kIdle = std::chrono::seconds{75};
constexpr std::size_t kTogether = 65536;  ///< a body up to this size travels with its head, in one piece
constexpr auto kProgress = std::chrono::seconds{60};
constexpr auto kHeartbeat = std::chrono::seconds{15};
constexpr std::uint32_t kHeaderLimit = 32 * 1024;
constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kMostConnections = 4000;
constexpr std::size_t kWaiters = 32;  ///< threads for routes that wait for others: cheap, since they mostly sleep
constexpr auto kDrain = std::chrono::seconds{2};

auto token_of(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

/// What can be told to end, on the I/O thread.
class Closable {
 public:
  virtual void close() = 0;

 protected:
  ~Closable() = default;
};

/// What all sessions share.
struct Shared {
  ServerOptions options;
  const Router* router = nullptr;
  std::string own_host_name;
  asio::io_context io{1};
  asio::thread_pool pool;
  asio::thread_pool waiters{kWaiters};
  std::optional<asio::ssl::context> tls;
  std::atomic<bool> stopping = false;

  std::mutex active_mutex;
  std::condition_variable none_active;
  int active = 0;  ///< requests being answered, streams not counted
  std::set<Closable*> connections;  ///< I/O thread only

  std::array<std::atomic<std::uint64_t>, 6> answers{};  ///< by the status's first digit
  std::atomic<std::uint64_t> microseconds = 0;

  explicit Shared(ServerOptions o) : options(std::move(o)), pool(static_cast<std::size_t>(options.workers)) {}
};

using SharedPtr = std::shared_ptr<Shared>;

struct ActiveRequest {
  explicit ActiveRequest(SharedPtr s) : shared(std::move(s)) {
    const std::lock_guard lock(shared->active_mutex);
    ++shared->active;
  }
  ~ActiveRequest() {
    const std::lock_guard lock(shared->active_mutex);
    if (--shared->active == 0) shared->none_active.notify_all();
  }
  ActiveRequest(const ActiveRequest&) = delete;
  ActiveRequest& operator=(const ActiveRequest&) = delete;
  SharedPtr shared;
};

/// Something that the I/O thread waits for and any thread brings about.
struct Signal {
  explicit Signal(const SharedPtr& s) : shared(s), timer(s->io) {}
  void raise_from_anywhere(const std::shared_ptr<Signal>& self) {
    asio::post(shared->io, [weak = std::weak_ptr(self)] {  // weak: it may come after the last run of `io`
      if (const auto signal = weak.lock()) signal->raise();
    });
  }
  void raise() {
    raised = true;
    timer.cancel();
  }
  SharedPtr shared;
  asio::steady_timer timer;
  bool raised = false;  ///< I/O thread only
};

asio::awaitable<void> wait_for(std::shared_ptr<Signal> signal, Clock::time_point until) {
  error_code error;
  while (!signal->raised && Clock::now() < until) {
    signal->timer.expires_at(until);
    co_await signal->timer.async_wait(token_of(error));
  }
  signal->raised = false;
}

/// Runs the route's `work` on one of the pools and returns when it is done; what it throws comes out here.
asio::awaitable<void> on_pool(SharedPtr shared, const Route& route, std::function<void()> work) {
  auto signal = std::make_shared<Signal>(shared);
  std::exception_ptr thrown;  // must not leave the pool's thread
  asio::post(route.waits ? shared->waiters : shared->pool, [signal, &work, &thrown] {
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
    signal->raise_from_anywhere(signal);
  });
  co_await wait_for(signal, Clock::time_point::max());
  if (thrown) std::rethrow_exception(thrown);
}

Result<Response> internal_error(const std::exception& error, const Call& call) {
  log::error("a handler threw path={} what={}", call.path, error.what());
  return fail(Code::internal, "Lathe failed here; the server's log says more");
}

/// Answers from an async handler. When the last copy of the Reply goes without an answer, that is an error too.
struct Pending {
  explicit Pending(const SharedPtr& shared) : signal(std::make_shared<Signal>(shared)) {}
  ~Pending() { answer(fail(Code::internal, "the request was dropped")); }
  void answer(Result<Response> result) {
    if (answered.exchange(true)) return;
    *slot = std::move(result);
    signal->raise_from_anywhere(signal);
  }
  std::shared_ptr<Signal> signal;
  std::shared_ptr<std::optional<Result<Response>>> slot = std::make_shared<std::optional<Result<Response>>>();
  std::atomic<bool> answered = false;
};

std::string_view host_of(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool known_host(const Shared& shared, std::string_view header) {
  const std::string host = to_lower(host_of(header));
  if (host.empty() || host == "localhost" || host == to_lower(shared.options.host) || host == shared.own_host_name)
    return true;
  const std::string bare = host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
  error_code error;
  asio::ip::make_address(bare, error);
  if (!error) return true;  // an address cannot be rebound by DNS
  for (const auto& allowed : shared.options.allowed_hosts)
    if (allowed == "*" || to_lower(allowed) == host) return true;
  return false;
}

bool same_origin(std::string_view origin, std::string_view host) {
  const auto scheme = origin.find("://");
  return scheme != std::string_view::npos && to_lower(origin.substr(scheme + 3)) == to_lower(host);
}

std::optional<Credentials> credentials(const Call& call) {
  const auto header = call.header("authorization");
  if (!header) return std::nullopt;
  const auto space = header->find(' ');
  const std::string scheme = to_lower(header->substr(0, space));
  const std::string rest(space == std::string_view::npos ? "" : trim(header->substr(space)));
  if (scheme == "bearer") return Credentials{rest, {}};
  if (scheme == "basic") {
    const auto decoded = base64_decode(rest);
    const auto colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon != std::string::npos) return Credentials{decoded->substr(colon + 1), decoded->substr(0, colon)};
  }
  return Credentials{};
}

/// Whether `who` may call `route`: the one place where rights are decided.
Result<void> check_right(const Principal& who, const Route& route) {
  if (who.run && !route.jobs && route.right != Right::track)
    return fail(Code::forbidden, "a job's token may only log to its own run and register models from it");
  const bool may = route.right == Right::read ||
                   (route.right == Right::administer ? who.role == Role::administrator : who.role != Role::viewer);
  if (may) return {};
  if (route.right == Right::administer) return fail(Code::forbidden, "only an administrator may do that");
  return fail(Code::forbidden, "a viewer may only look: ask an administrator for the role member");
}

ErrorShape shape_for(std::string_view path) {
  while (path.starts_with("//")) path.remove_prefix(1);
  for (const std::string_view start :
       {"/api/2.0", "/api/3.0", "/ajax-api/", "/v1/", "/graphql", "/get-artifact", "/model-versions/", "/gateway/"})
    if (path.starts_with(start)) return ErrorShape::mlflow;
  return ErrorShape::problem;
}

Response not_routed(const Router::Match& match, const Call& call) {
  const auto shape = shape_for(call.path);
  if (match.allowed.empty()) {
    return error_response({Code::not_found, fmt::format("there is nothing at {}", printable(call.path)), "ENDPOINT_NOT_FOUND"},
                          shape);
  }
  std::string allowed;
  for (const auto method : match.allowed) allowed += (allowed.empty() ? "" : ", ") + std::string(method_name(method));
  auto response = error_response({Code::invalid, fmt::format("{} takes {}", printable(call.path), allowed), "BAD_REQUEST"}, shape, 405);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

std::string_view reason(int status) {
  const auto text = beast::http::obsolete_reason(static_cast<beast::http::status>(status));
  return {text.data(), text.size()};
}

/// A header value must not hold line breaks, whatever a handler put into it.
std::string header_safe(std::string_view value) {
  std::string out(value);
  for (char& c : out)
    if (c == '\r' || c == '\n' || c == '\0') c = ' ';
  return out;
}

template <class Stream>
class Session final : public Closable, public std::enable_shared_from_this<Session<Stream>> {
 public:
  Session(SharedPtr shared, Stream stream) : shared_(std::move(shared)), stream_(std::move(stream)) {
    shared_->connections.insert(this);
    error_code error;
    const auto peer = socket().remote_endpoint(error);
    if (!error) peer_ = peer.address().to_string();
  }
  ~Session() { shared_->connections.erase(this); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  asio::awaitable<void> run() {
    const auto self = this->shared_from_this();
    if constexpr (!std::is_same_v<Stream, beast::tcp_stream>) {
      error_code error;
      lowest().expires_after(kProgress);
      co_await stream_.async_handshake(asio::ssl::stream_base::server, token_of(error));
      if (error) co_return;
    }
    bool open = true;
    while (open && !shared_->stopping) open = co_await one_request();
    error_code ignored;
    socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  void close() override {
    lowest().close();
    if (source_awake_) source_awake_->raise();
  }

 private:
  using HeaderParser = beast::http::request_parser<beast::http::empty_body>;

  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }
  tcp::socket& socket() { return lowest().socket(); }

  /// Reads one request and answers it. False: the connection is over.
  asio::awaitable<bool> one_request() {
    HeaderParser parser;
    parser.header_limit(kHeaderLimit);
    parser.body_limit(boost::none);
    lowest().expires_after(kIdle);
    error_code error;
    co_await beast::http::async_read_header(stream_, buffer_, parser, token_of(error));
    if (error == beast::http::error::header_limit) {
      co_await refuse(431, "the headers are too large");
      co_return false;
    }
    if (error) {
      if (error.category() == beast::http::make_error_code(beast::http::error::bad_target).category() &&
          error != beast::http::error::end_of_stream && error != beast::http::error::partial_message)
        co_await refuse(400, "not an HTTP request: " + error.message());
      co_return false;
    }

    active_.emplace(shared_);
    const auto begun = Clock::now();
    keep_alive_ = parser.get().keep_alive();
    Call call = make_call(parser);
    const bool head_only = call.method == Method::head;
    Response response;
    auto refusal = prepare(call);
    if (!refusal && entry_->upload) {
      response = co_await take_upload(call, parser);
    } else if (refusal) {
      // A small body is read, so that the connection can go on; a large one, or one that waits for our word, is not.
      const bool small = parser.is_done() || (parser.content_length() && *parser.content_length() <= kPiece);
      const bool waits = parser.get()[beast::http::field::expect] == "100-continue";
      keep_alive_ = keep_alive_ && small && !waits;
      if (keep_alive_) keep_alive_ = co_await read_body(call, parser, kPiece);
      response = std::move(*refusal);
    } else {
      const bool read = co_await read_body(call, parser, entry_->route.body_limit);
      if (read) {
        auto handling = handle(std::move(call));
        response = co_await std::move(handling);
      } else {
        keep_alive_ = false;
        response = error_response({Code::invalid, body_error_, "BAD_REQUEST"}, entry_->route.errors, body_status_);
      }
    }
    shared_->microseconds += static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun).count());
    ++shared_->answers[static_cast<std::size_t>(std::clamp(response.status / 100, 0, 5))];
    const bool sent = co_await send(response, head_only);
    active_.reset();
    co_return sent && keep_alive_;
  }

  Call make_call(const HeaderParser& parser) {
    Call call;
    const auto& request = parser.get();
    known_method_ = true;
    asks_about_ = false;
    switch (request.method()) {
      case beast::http::verb::get: call.method = Method::get; break;
      case beast::http::verb::head: call.method = Method::head; break;
      case beast::http::verb::post: call.method = Method::post; break;
      case beast::http::verb::put: call.method = Method::put; break;
      case beast::http::verb::patch: call.method = Method::patch; break;
      case beast::http::verb::delete_: call.method = Method::del; break;
      case beast::http::verb::options: {
        const auto about = request["Access-Control-Request-Method"];
        asks_about_ = true;
        known_method_ = about == "GET" || about == "POST";
        call.method = about == "GET" ? Method::get : Method::post;
        break;
      }
      default: known_method_ = false;
    }
    std::string_view target(request.target().data(), request.target().size());
    const auto question = target.find('?');
    call.path = target.substr(0, question);
    if (question != std::string_view::npos) {
      call.raw_query = target.substr(question + 1);
      for (const auto pair : split(call.raw_query, '&')) {
        if (pair.empty()) continue;
        const auto equals = pair.find('=');
        const auto decode = [](std::string_view text) {
          std::string plus(text);
          std::replace(plus.begin(), plus.end(), '+', ' ');
          return url_decode(plus);
        };
        call.queries.emplace_back(decode(pair.substr(0, equals)),
                                  equals == std::string_view::npos ? "" : decode(pair.substr(equals + 1)));
      }
    }
    for (const auto& field : request) {
      // It says what OPTIONS asks about, and nothing elsewhere.
      if (field.name() == beast::http::field::access_control_request_method && !asks_about_) continue;
      call.headers.emplace_back(to_lower({field.name_string().data(), field.name_string().size()}),
                                std::string(field.value().data(), field.value().size()));
    }
    call.peer = peer_;
    return call;
  }

  /// Host, origin, route, credentials and rights. Sets entry_; or gives the refusal.
  std::optional<Response> prepare(Call& call) {
    const auto shape = shape_for(call.path);
    entry_ = nullptr;
    if (!known_method_) return error_response({Code::invalid, "this method is not known here", "BAD_REQUEST"}, shape, 405);
    auto match = shared_->router->match(call.method, call.path);
    if (match.entry == nullptr || (asks_about_ && match.entry->route.id != shared_->options.preflight_route)) return not_routed(match, call);
    const auto& route = match.entry->route;
    const auto host = call.header("host").value_or("");
    if (route.right != Right::open) {
      if (!known_host(*shared_, host))
        return error_response({Code::forbidden, fmt::format("the Host header \"{}\" is not a name of this server; an administrator can allow "
                                                            "it with the setting allowed_hosts", printable(host)), {}}, route.errors);
      if (const auto origin = call.header("origin"); origin && !same_origin(*origin, host))
        return error_response({Code::forbidden, "requests from other web sites are refused", {}}, route.errors);
      const auto who = shared_->options.authenticate(credentials(call));
      if (!who) return error_response(who.error(), route.errors);
      call.principal = *who;
      if (const auto may = check_right(*who, route); !may) return error_response(may.error(), route.errors);
    }
    call.params = std::move(match.params);
    entry_ = match.entry;
    return std::nullopt;
  }

  asio::awaitable<bool> agree_to_continue(const HeaderParser& parser) {
    if (parser.get()[beast::http::field::expect] != "100-continue") co_return true;
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    error_code error;
    const auto bytes = asio::buffer(kContinue.data(), kContinue.size());
    co_await asio::async_write(stream_, bytes, token_of(error));
    co_return !error;
  }

  asio::awaitable<bool> read_body(Call& call, HeaderParser& header, std::size_t limit) {
    body_status_ = 413;
    body_error_ = fmt::format("the body is larger than {} bytes", limit);
    if (const auto length = header.content_length(); length && *length > limit) co_return false;
    if (header.is_done()) co_return true;
    const bool agreed = co_await agree_to_continue(header);
    if (!agreed) co_return false;
    beast::http::request_parser<beast::http::string_body> parser(std::move(header));
    parser.body_limit(limit);
    lowest().expires_after(kProgress);
    error_code error;
    co_await beast::http::async_read(stream_, buffer_, parser, token_of(error));
    if (error && error != beast::http::error::body_limit) {
      body_status_ = 400;
      body_error_ = "the body ended early or is not well-formed: " + error.message();
    }
    call.body = std::move(parser.get().body());
    co_return !error;
  }

  asio::awaitable<Response> handle(Call call) {
    const auto shape = entry_->route.errors;
    Result<Response> answer = fail(Code::internal, "no answer");
    if (entry_->async) {
      auto pending = std::make_shared<Pending>(shared_);
      const auto signal = pending->signal;
      const auto slot = pending->slot;
      Reply reply = [pending](Result<Response> result) { pending->answer(std::move(result)); };
      pending.reset();
      try {
        entry_->async(std::move(call), std::move(reply));
      } catch (const std::exception& error) {
        *slot = internal_error(error, call);
        signal->raised = true;
      }
      co_await wait_for(signal, Clock::time_point::max());
      answer = std::move(**slot);
    } else {
      const auto* entry = entry_;
      std::function<void()> work = [&answer, &call, entry] {
        try {
          answer = entry->plain(call);
        } catch (const std::exception& error) {
          answer = internal_error(error, call);
        }
      };
      auto running = on_pool(shared_, entry->route, std::move(work));
      co_await std::move(running);
    }
    if (!answer) {
      if (answer.error().code == Code::internal) log::error("request failed why={}", answer.error().message);
      co_return error_response(answer.error(), shape);
    }
    co_return std::move(*answer);
  }

  /// Gives the body to the route's sink, piece by piece.
  asio::awaitable<Response> take_upload(Call& call, HeaderParser& header) {
    const auto* entry = entry_;
    std::unique_ptr<Sink> sink;
    std::optional<Error> failure;
    std::function<void()> open = [&] {
      try {
        auto opened = entry->upload(call);
        if (opened) sink = std::move(*opened);
        else failure = opened.error();
      } catch (const std::exception& error) {
        failure = internal_error(error, call).error();
      }
    };
    auto opening = on_pool(shared_, entry->route, std::move(open));
    co_await std::move(opening);

    beast::http::request_parser<beast::http::buffer_body> parser(std::move(header));
    if (!failure && parser.get()[beast::http::field::expect] == "100-continue") {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      error_code error;
      const auto bytes = asio::buffer(kContinue.data(), kContinue.size());
      co_await asio::async_write(stream_, bytes, token_of(error));
    }
    parser.body_limit(boost::none);
    std::vector<char> piece(kPiece);
    while (!failure && !parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      lowest().expires_after(kProgress);
      error_code error;
      co_await beast::http::async_read(stream_, buffer_, parser, token_of(error));
      if (error == beast::http::error::need_buffer) error = {};
      if (error) {
        failure = Error{Code::invalid, "the upload ended early: nothing of it was kept", "BAD_REQUEST"};
        break;
      }
      const std::string_view bytes(piece.data(), piece.size() - parser.get().body().size);
      if (bytes.empty()) continue;
      std::function<void()> write = [&] {
        if (auto written = sink->write(bytes); !written) failure = written.error();
      };
      auto writing = on_pool(shared_, entry->route, std::move(write));
      co_await std::move(writing);
    }
    // What the client still sends is not read: after a failure the connection ends.
    if (failure) keep_alive_ = false;

    Response response;
    std::function<void()> end = [&] {
      if (failure) {
        sink.reset();
        return;
      }
      auto finished = sink->finish();
      if (finished) response = std::move(*finished);
      else failure = finished.error();
      sink.reset();
    };
    auto ending = on_pool(shared_, entry->route, std::move(end));
    co_await std::move(ending);
    if (failure) co_return error_response(*failure, entry->route.errors);
    co_return response;
  }

  asio::awaitable<void> refuse(int status, std::string why) {
    keep_alive_ = false;
    auto response = error_response({Code::invalid, std::move(why), {}}, ErrorShape::problem, status);
    co_await send(response, false);
  }

  std::string head_of(const Response& response, std::optional<std::uint64_t> length) const {
    std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    if (!response.type.empty()) head += "Content-Type: " + header_safe(response.type) + "\r\n";
    for (const auto& [name, value] : response.headers) head += name + ": " + header_safe(value) + "\r\n";
    head += "X-Content-Type-Options: nosniff\r\n";
    if (response.status == 204 || response.status == 304) {
    } else if (length) {
      head += fmt::format("Content-Length: {}\r\n", *length);
    } else {
      head += "Transfer-Encoding: chunked\r\n";
    }
    head += keep_alive_ ? "\r\n" : "Connection: close\r\n\r\n";
    return head;
  }

  asio::awaitable<bool> send(Response& response, bool head_only) {
    if (response.source) {
      const bool sent = co_await send_source(response, head_only);
      co_return sent;
    }
    std::string head = head_of(response, response.body.size());
    std::string_view body = head_only ? std::string_view{} : std::string_view(response.body);
    if (body.size() <= kTogether) {
      head += body;
      body = {};
    }
    bool sent = co_await write(head);
    if (sent && !body.empty()) sent = co_await write(body);
    co_return sent;
  }

  asio::awaitable<bool> write(std::string_view bytes) {
    error_code error;
    lowest().expires_after(kProgress);
    const auto buffer = asio::buffer(bytes);
    co_await asio::async_write(stream_, buffer, token_of(error));
    co_return !error;
  }

  asio::awaitable<bool> send_source(Response& response, bool head_only) {
    auto& source = *response.source;
    const auto length = source.length();
    const bool events = response.type.starts_with("text/event-stream");
    if (events) response.headers.emplace_back("Cache-Control", "no-store");
    const auto signal = std::make_shared<Signal>(shared_);
    source_awake_ = signal;
    source.on_wake([signal] { signal->raise_from_anywhere(signal); });
    std::string out = head_of(response, length);
    if (head_only) {
      const bool sent = co_await write(out);
      co_return sent;
    }
    std::uint64_t total = 0;
    for (;;) {
      std::string piece;
      Result<Source::Step> step = Source::Step::end;
      std::function<void()> read = [&] { step = source.read(piece); };
      auto reading = on_pool(shared_, entry_->route, std::move(read));
      co_await std::move(reading);
      if (!step) {
        log::warn("a response broke off why={}", step.error().message);
        co_return false;  // the missing end tells the client
      }
      total += piece.size();
      if (length) out += piece;
      else if (!piece.empty()) out += fmt::format("{:x}\r\n", piece.size()) + piece + "\r\n";
      if (!length && *step == Source::Step::end) out += "0\r\n\r\n";
      if (!out.empty()) {
        const bool sent = co_await write(out);
        if (!sent) co_return false;
        out.clear();
      }
      if (*step == Source::Step::end) co_return !length || total == *length;
      if (*step == Source::Step::wait) {
        active_.reset();  // who follows a log does not hold up the server's end
        const auto until = Clock::now() + kHeartbeat;
        auto waiting = wait_for(signal, until);
        co_await std::move(waiting);
        if (shared_->stopping) co_return false;
        if (events && Clock::now() >= until) out = "3\r\n:\n\n\r\n";
      }
    }
  }

  SharedPtr shared_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::string peer_;
  std::shared_ptr<Signal> source_awake_;  ///< the last streamed response's
  const Router::Entry* entry_ = nullptr;
  std::optional<ActiveRequest> active_;  ///< while a request is answered
  bool keep_alive_ = true;
  bool known_method_ = true;
  bool asks_about_ = false;  ///< a browser's question: `method` is the one that it asks about
  int body_status_ = 413;
  std::string body_error_;
};

asio::awaitable<void> accept_loop(SharedPtr shared, std::shared_ptr<tcp::acceptor> acceptor) {
  while (acceptor->is_open()) {
    error_code error;
    tcp::socket socket(shared->io);
    co_await acceptor->async_accept(socket, token_of(error));
    if (error) {
      if (error == asio::error::operation_aborted) co_return;
      // Out of descriptors, most likely: give the running requests time to end.
      asio::steady_timer timer(shared->io, std::chrono::milliseconds{50});
      co_await timer.async_wait(token_of(error));
      continue;
    }
    if (shared->connections.size() >= kMostConnections) continue;
    socket.set_option(tcp::no_delay(true), error);
    const auto ended = [](const std::exception_ptr& failure) {
      try {
        if (failure) std::rethrow_exception(failure);
      } catch (const std::exception& why) {
        log::error("a connection ended with an exception what={}", why.what());
      }
    };
    if (shared->tls) {
      beast::ssl_stream<beast::tcp_stream> stream(beast::tcp_stream(std::move(socket)), *shared->tls);
      auto session = std::make_shared<Session<beast::ssl_stream<beast::tcp_stream>>>(shared, std::move(stream));
      asio::co_spawn(shared->io, session->run(), ended);
    } else {
      auto session = std::make_shared<Session<beast::tcp_stream>>(shared, beast::tcp_stream(std::move(socket)));
      asio::co_spawn(shared->io, session->run(), ended);
    }
  }
}

class BeastServer final : public Server {
 public:
  BeastServer(SharedPtr shared, std::shared_ptr<tcp::acceptor> acceptor)
      : shared_(std::move(shared)), acceptor_(std::move(acceptor)), port_(acceptor_->local_endpoint().port()) {
    asio::co_spawn(shared_->io, accept_loop(shared_, acceptor_), asio::detached);
    thread_ = std::thread([this] {
      run_io();
      ended_.set_value();
    });
  }
  ~BeastServer() override { stop(std::chrono::milliseconds{0}); }

  std::uint16_t port() const override { return port_; }

  std::string url() const override {
    const auto& host = shared_->options.host;
    return fmt::format("{}://{}:{}", shared_->tls ? "https" : "http",
                       host.find(':') == std::string::npos ? host : "[" + host + "]", port_);
  }

  void stop(std::chrono::milliseconds grace) override {
    if (!thread_.joinable()) return;
    shared_->stopping = true;
    asio::post(shared_->io, [acceptor = acceptor_] {
      error_code ignored;
      acceptor->close(ignored);
    });
    {
      std::unique_lock lock(shared_->active_mutex);
      shared_->none_active.wait_for(lock, grace, [&] { return shared_->active == 0; });
    }
    asio::post(shared_->io, [shared = shared_] {
      for (auto* connection : shared->connections) connection->close();
    });
    shared_->options.interrupt();
    shared_->pool.join();
    shared_->waiters.join();
    // The coroutines own what they use, and end by themselves now; one that waits for what never comes is abandoned.
    work_.reset();
    if (ended_.get_future().wait_for(kDrain) != std::future_status::ready) shared_->io.stop();
    thread_.join();
  }

  std::string metrics() const override {
    std::string out = "# TYPE lathe_http_requests_total counter\n";
    std::uint64_t count = 0;
    for (std::size_t i = 1; i < shared_->answers.size(); ++i) {
      const auto answers = shared_->answers[i].load();
      count += answers;
      out += fmt::format("lathe_http_requests_total{{code=\"{}xx\"}} {}\n", i, answers);
    }
    out += fmt::format(
        "# TYPE lathe_http_request_seconds summary\nlathe_http_request_seconds_sum {}\nlathe_http_request_seconds_count {}\n",
        static_cast<double>(shared_->microseconds.load()) / 1e6, count);
    return out;
  }

 private:
  /// Beast throws from within reads, past our coroutines, when a client's trailers are too large: that connection is gone
  /// then, and the others go on.
  void run_io() {
    for (;;) {
      try {
        shared_->io.run();
        return;
      } catch (const std::exception& why) {
        log::warn("a connection was dropped what={}", why.what());
      }
    }
  }

  SharedPtr shared_;
  std::shared_ptr<tcp::acceptor> acceptor_;
  std::uint16_t port_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{shared_->io.get_executor()};
  std::promise<void> ended_;
  std::thread thread_;
};

Result<void> set_up_tls(Shared& shared) {
  if (shared.options.certificate_file.empty()) return {};
  shared.tls.emplace(asio::ssl::context::tls_server);
  error_code error;
  SSL_CTX_set_min_proto_version(shared.tls->native_handle(), TLS1_2_VERSION);
  shared.tls->use_certificate_chain_file(shared.options.certificate_file, error);
  if (error) return fail(Code::invalid, fmt::format("cannot use the certificate {}: {}", shared.options.certificate_file, error.message()));
  shared.tls->use_private_key_file(shared.options.key_file, asio::ssl::context::pem, error);
  if (error) return fail(Code::invalid, fmt::format("cannot use the key {}: {}", shared.options.key_file, error.message()));
  return {};
}

}  // namespace

Result<std::unique_ptr<Server>> serve(ServerOptions options, const Router& router) {
  auto shared = std::make_shared<Shared>(std::move(options));
  shared->router = &router;
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) == 0) shared->own_host_name = to_lower(name);
  LATHE_CHECK(set_up_tls(*shared));

  error_code error;
  const std::string host = shared->options.host == "localhost" ? "127.0.0.1" : shared->options.host;
  const auto address = asio::ip::make_address(host, error);
  if (error) return fail(Code::invalid, fmt::format("\"{}\" is not an address to listen on: use one such as 127.0.0.1 or 0.0.0.0", host));
  auto acceptor = std::make_shared<tcp::acceptor>(shared->io);
  const tcp::endpoint endpoint(address, shared->options.port);
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(1024, error);
  if (error) {
    if (error == asio::error::address_in_use)
      return fail(Code::conflict, fmt::format("port {} is taken by another program: choose another with --port, or 0 to let the system choose",
                                              shared->options.port));
    return fail(Code::invalid, fmt::format("cannot listen on {}:{}: {}", host, shared->options.port, error.message()));
  }
  return std::make_unique<BeastServer>(std::move(shared), std::move(acceptor));
}

}  // namespace lathe::http
