#include "http/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>

namespace lathe::http {
namespace {

/// A client of a few lines: sends bytes as they are, reads until `until` has come or the server closes.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(std::string_view bytes) const {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  std::string read_until(std::string_view until) {
    std::string out;
    char buffer[4096];
    while (until.empty() || out.find(until) == std::string::npos) {
      const auto got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      out.append(buffer, static_cast<std::size_t>(got));
    }
    return out;
  }
  std::string ask(const std::string& head, const std::string& body = {}, std::string_view until = {}) {
    send(head + "\r\n\r\n" + body);
    return read_until(until);
  }

 private:
  int fd_;
};

struct CountingSink : Sink {
  explicit CountingSink(std::atomic<int>& broken) : broken_(broken) {}
  ~CountingSink() override {
    if (!finished_) ++broken_;
  }
  Result<void> write(std::string_view piece) override {
    size_ += piece.size();
    return {};
  }
  Result<Response> finish() override {
    finished_ = true;
    return text_response(std::to_string(size_));
  }
  std::atomic<int>& broken_;
  std::size_t size_ = 0;
  bool finished_ = false;
};

/// Gives one piece, waits to be woken by the test, gives another, ends.
struct TwoSteps : Source {
  struct Control {
    std::mutex mutex;
    std::function<void()> wake;
    bool go = false;
  };
  explicit TwoSteps(std::shared_ptr<Control> control) : control_(std::move(control)) {}
  Result<Step> read(std::string& out) override {
    if (!std::exchange(begun_, true)) {
      out += "first";
      return Step::more;
    }
    const std::lock_guard lock(control_->mutex);
    if (!control_->go) return Step::wait;
    out += "second";
    return Step::end;
  }
  void on_wake(std::function<void()> wake) override {
    const std::lock_guard lock(control_->mutex);
    control_->wake = std::move(wake);
  }
  std::shared_ptr<Control> control_;
  bool begun_ = false;
};

struct ServerTest : ::testing::Test {
  Router router;
  std::unique_ptr<Server> server;
  std::atomic<int> broken = 0;
  std::shared_ptr<TwoSteps::Control> control = std::make_shared<TwoSteps::Control>();
  std::promise<void> interrupted;

  static Route route(Method method, const std::string& path, Right right) {
    Route out;
    out.id = path;
    out.method = method;
    out.path = path;
    out.right = right;
    out.body_limit = 1000;
    return out;
  }

  void SetUp() override {
    router.add(route(Method::post, "/echo", Right::write), [](Call& call) -> Result<Response> { return text_response(call.body); });
    router.add(route(Method::get, "/throws", Right::read), [](Call&) -> Result<Response> { throw std::runtime_error("x"); });
    router.add(route(Method::get, "/admin", Right::administer), [](Call&) -> Result<Response> { return text_response("ok"); });
    router.add(route(Method::get, "/open", Right::open), [](Call&) -> Result<Response> { return text_response("ok"); });
    router.add_async(route(Method::get, "/later", Right::read), [](Call, Reply reply) {
      std::thread([reply = std::move(reply)] { reply(text_response("later")); }).detach();
    });
    router.add_async(route(Method::get, "/dropped", Right::read), [](Call, Reply) {});
    router.add_upload(route(Method::put, "/upload", Right::write),
                      [this](Call&) -> Result<std::unique_ptr<Sink>> { return std::make_unique<CountingSink>(broken); });
    router.add(route(Method::get, "/stream", Right::read), [this](Call&) -> Result<Response> {
      Response response;
      response.type = "text/plain";
      response.source = std::make_unique<TwoSteps>(control);
      return response;
    });
    auto waiting = route(Method::get, "/waits", Right::open);
    waiting.waits = true;
    router.add(std::move(waiting), [ended = interrupted.get_future().share()](Call&) -> Result<Response> {
      ended.wait();
      return text_response("interrupted");
    });
    ServerOptions options;
    options.port = 0;
    options.interrupt = [this] { interrupted.set_value(); };
    options.authenticate = [](const std::optional<Credentials>& who) -> Result<Principal> {
      if (!who) return fail(Code::unauthenticated, "no token");
      if (who->token == "member") return Principal{1, "m", Role::member, {}};
      if (who->token == "job") return Principal{1, "m", Role::member, "run1"};
      if (who->token == "viewer") return Principal{2, "v", Role::viewer, {}};
      return fail(Code::unauthenticated, "unknown token");
    };
    server = serve(std::move(options), router).value();
  }

  std::string ask(const std::string& line, const std::string& headers = "\r\nAuthorization: Bearer member", const std::string& body = {}) {
    RawClient client(server->port());
    return client.ask(line + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + headers, body);
  }
  static std::string status(const std::string& answer) { return answer.substr(0, 12); }
};

TEST_F(ServerTest, ABodyComesBackAndTheConnectionGoesOn) {
  RawClient client(server->port());
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer member\r\nContent-Length: 5", "hello", "hello");
    EXPECT_EQ(status(answer), "HTTP/1.1 200");
  }
}

TEST_F(ServerTest, ChunkedBodiesAreRead) {
  RawClient client(server->port());
  const auto answer = client.ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer member\r\nTransfer-Encoding: chunked",
                                 "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde");
  EXPECT_NE(answer.find("abcde"), std::string::npos);
}

TEST_F(ServerTest, WhoIsUnknownOrMayNotIsTurnedAway) {
  EXPECT_EQ(status(ask("GET /later", "")), "HTTP/1.1 401");
  EXPECT_EQ(status(ask("GET /later", "\r\nAuthorization: Bearer x")), "HTTP/1.1 401");
  EXPECT_EQ(status(ask("POST /echo", "\r\nAuthorization: Bearer viewer")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("GET /later", "\r\nAuthorization: Bearer job")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("GET /admin")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("GET /later", "\r\nAuthorization: Basic YW55OnZpZXdlcg==")), "HTTP/1.1 200");
  EXPECT_EQ(status(ask("GET /open", "")), "HTTP/1.1 200");
}

TEST_F(ServerTest, ForeignHostsAndOriginsAreRefused) {
  RawClient client(server->port());
  EXPECT_EQ(status(client.ask("GET /later HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\nAuthorization: Bearer member\r\nConnection: close")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("POST /echo", "\r\nAuthorization: Bearer member\r\nOrigin: null")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("POST /echo", "\r\nAuthorization: Bearer member\r\nOrigin: https://evil.example")), "HTTP/1.1 403");
  EXPECT_EQ(status(ask("POST /echo", "\r\nAuthorization: Bearer member\r\nOrigin: http://localhost")), "HTTP/1.1 200");
}

TEST_F(ServerTest, UnknownPathsAndMethodsSaySo) {
  EXPECT_EQ(status(ask("GET /nowhere")), "HTTP/1.1 404");
  const auto mlflow = ask("GET /api/2.0/mlflow/nowhere");
  EXPECT_NE(mlflow.find("ENDPOINT_NOT_FOUND"), std::string::npos);
  const auto method = ask("DELETE /echo");
  EXPECT_EQ(status(method), "HTTP/1.1 405");
  EXPECT_NE(method.find("Allow: POST"), std::string::npos);
}

TEST_F(ServerTest, ABodyOverTheLimitIsRefused) {
  EXPECT_EQ(status(ask("POST /echo", "\r\nAuthorization: Bearer member", std::string(1001, 'x'))), "HTTP/1.1 413");
}

TEST_F(ServerTest, RubbishGetsA400) {
  RawClient client(server->port());
  EXPECT_EQ(status(client.ask("NONSENSE")), "HTTP/1.1 400");
  RawClient other(server->port());
  EXPECT_EQ(status(other.ask("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(100'000, 'x'))), "HTTP/1.1 431");
}

TEST_F(ServerTest, AsyncHandlersAnswerFromAnotherThreadAndNeverHang) {
  EXPECT_NE(ask("GET /later").find("later"), std::string::npos);
  EXPECT_EQ(status(ask("GET /dropped")), "HTTP/1.1 500");
  EXPECT_EQ(status(ask("GET /throws")), "HTTP/1.1 500");
}

TEST_F(ServerTest, AnUploadGoesToItsSinkInPieces) {
  const auto answer = ask("PUT /upload", "\r\nAuthorization: Bearer member", std::string(3'000'000, 'x'));
  EXPECT_NE(answer.find("3000000"), std::string::npos);
  EXPECT_EQ(broken, 0);
}

TEST_F(ServerTest, ABrokenUploadIsNotFinished) {
  {
    RawClient client(server->port());
    client.send("PUT /upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer member\r\nContent-Length: 100\r\n\r\nhalf");
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (broken == 0 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  EXPECT_EQ(broken, 1);
}

TEST_F(ServerTest, AStreamWaitsUntilItIsWoken) {
  RawClient client(server->port());
  const auto first = client.ask("GET /stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer member", "", "first");
  EXPECT_EQ(first.find("second"), std::string::npos);
  std::function<void()> wake;
  {
    const std::lock_guard lock(control->mutex);
    control->go = true;
    wake = control->wake;
  }
  wake();
  EXPECT_NE(client.read_until("0\r\n\r\n").find("second"), std::string::npos);
  server.reset();
  wake();  // long after the server is gone
}

TEST_F(ServerTest, AStreamThatWaitsDoesNotHoldUpTheEnd) {
  RawClient client(server->port());
  client.ask("GET /stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer member", "", "first");
  const auto before = std::chrono::steady_clock::now();
  server->stop(std::chrono::minutes{10});
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::minutes{1});
}

TEST_F(ServerTest, RoutesThatWaitHoldUpNoOthersAndEndWithTheServer) {
  std::vector<std::unique_ptr<RawClient>> waiting;
  for (int i = 0; i < 8; ++i) {  // twice as many as workers
    waiting.push_back(std::make_unique<RawClient>(server->port()));
    waiting.back()->send("GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  EXPECT_EQ(status(ask("GET /open", "")), "HTTP/1.1 200");
  server->stop(std::chrono::milliseconds{1});
}

TEST_F(ServerTest, ATakenPortIsOneSentence) {
  ServerOptions options;
  options.port = server->port();
  const auto second = serve(std::move(options), router);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
}

}  // namespace
}  // namespace lathe::http
