#include "serving/pass_on.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace lathe::serving {
namespace {

using http::Call;
using http::Method;
using http::Response;

constexpr int kMostUnderWay = 16;
constexpr std::size_t kMostBody = std::size_t{64} << 20;
constexpr std::size_t kMostHeld = std::size_t{256} << 20;
/// Longer than any deployment may take.
constexpr std::chrono::minutes kLimit{10};

/// Those of one connection, and those that each side writes itself.
bool is_own(std::string_view name) {
  static constexpr std::array<std::string_view, 14> kOwn{
      "connection", "content-length",  "content-type", "date",    "expect",  "host",
      "keep-alive", "server",          "te",           "trailer", "upgrade", "transfer-encoding",
      "user-agent", "proxy-connection"};
  return std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end();
}

Response refused(int status, const std::string& message) {
  Response response = http::json_response(json::Object{{"error", message}}, status);
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

/// A body that comes in pieces, held until it is whole.
class Held : public http::Sink {
 public:
  Held(std::shared_ptr<PassOn> pass_on, Call call) : pass_on_(std::move(pass_on)), call_(std::move(call)) {}
  ~Held() override { pass_on_->release(body_.size()); }

  Result<void> write(std::string_view piece) override {
    if (refused_ != 0) return {};
    if (body_.size() + piece.size() > kMostBody)
      refused_ = 413;
    else if (!pass_on_->hold(piece.size()))
      refused_ = 503;
    else
      body_ += piece;
    return {};
  }

  Result<Response> finish() override {
    if (refused_ == 413)
      return refused(413,
                     "the body is larger than 64 MiB: the port of the predictions takes larger ones (lathe "
                     "online-endpoint show)");
    if (refused_ != 0) return refused(503, "too many large requests are under way here: try again soon");
    return pass_on_->pass(call_, body_);
  }

 private:
  std::shared_ptr<PassOn> pass_on_;
  Call call_;
  std::string body_;
  int refused_ = 0;  ///< with which status; what follows is read and let go
};

http::Route route_of(Method method, const std::string& path) {
  http::Route route;
  route.id = kPassOnRoute;
  route.method = method;
  route.path = path;
  route.right = http::Right::open;  // the data plane asks for the endpoint's key
  route.summary = "As on the port of the predictions.";
  route.in_openapi = false;  // the Open Inference Protocol has its own reference
  route.waits = true;
  return route;
}

}  // namespace

bool PassOn::hold(std::size_t bytes) {
  if (held_.fetch_add(bytes) + bytes <= kMostHeld) return true;
  held_ -= bytes;
  return false;
}

Result<Response> PassOn::pass(const Call& call, std::string_view body) {
  const auto to = plane_.reported();
  const auto& url = to.rest;
  if (url.empty()) return fail(Code::unavailable, "the data plane does not run: the server's log says why");
  struct UnderWay {
    std::atomic<int>& count;
    const bool fits = ++count <= kMostUnderWay;
    ~UnderWay() { --count; }
  } const place{under_way_};
  if (!place.fits) return refused(503, "too many requests are under way by this port: try again soon, or use " + url);

  http::Client::Headers headers;
  for (const auto& [name, value] : call.headers)
    if (name == "content-type" || !is_own(name)) headers.emplace_back(name, value);
  auto client = take(to);
  LATHE_TRY(auto answer,
            client.request(call.header("access-control-request-method") ? "OPTIONS" : http::method_name(call.method),
                           call.path + (call.raw_query.empty() ? "" : "?" + call.raw_query), body, headers));
  put_back(to, std::move(client));
  Response response;
  response.status = answer.status;
  response.type = std::move(answer.type);
  response.body = std::move(answer.body);
  for (auto& header : answer.headers)
    if (!is_own(header.first)) response.headers.push_back(std::move(header));
  return response;
}

Result<Response> PassOn::pass_as_operator(Call call) {
  LATHE_TRY(const auto key, plane_.operator_key());
  std::erase_if(call.headers, [](const auto& header) { return header.first == "authorization"; });
  call.headers.emplace_back("authorization", "Bearer " + key);
  return pass(call, call.body);
}

http::Client PassOn::take(const Reported& to) {
  const std::lock_guard lock(mutex_);
  const auto place = to.rest + to.certificate;
  if (place_ != place) idle_.clear();
  place_ = place;
  if (idle_.empty()) return http::Client({.url = to.rest, .certificate_sha256 = to.certificate, .timeout = kLimit});
  auto client = std::move(idle_.back());
  idle_.pop_back();
  return client;
}

void PassOn::put_back(const Reported& to, http::Client client) {
  const std::lock_guard lock(mutex_);
  if (place_ == to.rest + to.certificate) idle_.push_back(std::move(client));
}

namespace {

/// Triton's shared memory, and settings of the log and of traces: what reads memory or changes the server needs an
/// administrator's right.
void add_operator_routes(http::Router& router, const std::shared_ptr<PassOn>& pass_on) {
  const auto add = [&](Method method, const std::string& path) {
    auto route = route_of(method, path);
    route.id = "triton_operate";
    route.right = http::Right::administer;
    router.add(std::move(route), [pass_on](Call& call) { return pass_on->pass_as_operator(call); });
  };
  add(Method::get, "/v2/logging");
  add(Method::post, "/v2/logging");
  for (const std::string of : {"/v2", "/v2/models/{model}"}) {
    add(Method::get, of + "/trace/setting");
    add(Method::post, of + "/trace/setting");
    add(Method::get, of + "/trace");
  }
  for (const std::string kind : {"/v2/systemsharedmemory", "/v2/cudasharedmemory"}) {
    add(Method::get, kind + "/status");
    add(Method::get, kind + "/region/{region}/status");
    add(Method::post, kind + "/region/{region}/register");
    add(Method::post, kind + "/region/{region}/unregister");
    add(Method::post, kind + "/unregister");
  }
}

}  // namespace

void add_routes(http::Router& router, std::shared_ptr<PassOn> pass_on) {
  add_operator_routes(router, pass_on);
  for (const char* path : {"/v2", "/v2/{path*}", "/endpoints/{path*}", "/ping"})
    router.add(route_of(Method::get, path), [pass_on](Call& call) { return pass_on->pass(call, {}); });
  for (const char* path : {"/v2/{path*}", "/endpoints/{path*}", "/invocations", "/score"})
    router.add_upload(route_of(Method::post, path), [pass_on](Call& call) -> Result<std::unique_ptr<http::Sink>> {
      return std::make_unique<Held>(pass_on, call);
    });
}

}  // namespace lathe::serving
