#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "http/principal.h"
#include "json/fields.h"

/// The server's HTTP side as the subjects see it: calls, answers and the table of routes. Only server.cc knows Beast.
namespace lathe::http {

enum class Method { get, head, post, put, patch, del };

/// One request, after authentication. Owned by one thread at a time.
struct Call {
  Method method = Method::get;
  std::string path;      ///< as sent, still percent-encoded, without the query
  std::string raw_query; ///< as sent
  std::vector<std::pair<std::string, std::string>> queries;  ///< decoded, in order, repeats kept
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::vector<std::pair<std::string, std::string>> params;   ///< {name} parts of the route's path, decoded once
  std::string body;
  Principal principal;
  std::string peer;  ///< address of the client

  /// Whether it comes from this machine: only then may it name paths of it.
  bool is_local() const { return peer.starts_with("127.") || peer == "::1" || peer.starts_with("::ffff:127."); }
  std::string_view param(std::string_view name) const;
  std::optional<std::string> query(std::string_view name) const;
  std::vector<std::string> query_all(std::string_view name) const;
  std::optional<std::string_view> header(std::string_view name) const;
  /// The body as a JSON object. Errors: `invalid` with line and column, `unsupported_media` for another content type.
  Result<json::Object> json_body() const;
  /// The body as T (json/fields.h).
  template <class T>
  Result<T> body_as() const {
    LATHE_TRY(auto object, json_body());
    return json::from_json<T>(json::Value(std::move(object)));
  }
};

/// A body that is made while it is sent: a file, a log that grows, events. Used by one thread at a time.
class Source {
 public:
  enum class Step { more, wait, end };
  virtual ~Source() = default;
  /// Appends the next piece (up to about 256 KiB) to `out`. `wait`: nothing yet, ask again after a wake-up. Runs on the
  /// worker pool; may read files, must not wait unless its route `waits`.
  virtual Result<Step> read(std::string& out) = 0;
  /// `wake` may be called from any thread, any number of times, also after this Source is gone.
  virtual void on_wake(std::function<void()> wake) { (void)wake; }
  /// The number of bytes in all when known beforehand; else the answer is chunked.
  virtual std::optional<std::uint64_t> length() const { return std::nullopt; }
};

struct Response {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::unique_ptr<Source> source;  ///< when set, sent in place of `body`
};

/// Where the body of an upload goes, piece by piece, on the worker pool. Destroyed without `finish`: the upload broke,
/// and nothing of it may stay behind.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual Result<void> write(std::string_view piece) = 0;
  virtual Result<Response> finish() = 0;
};

/// How errors are written: ours (RFC 9457 problem details) or MLflow's {"error_code", "message"}.
enum class ErrorShape { problem, mlflow };

/// The answer for an error, in one switch from its code.
Response error_response(const Error& error, ErrorShape shape);
/// For what only HTTP knows (405, 413, 431): the answer says `status` in its head and in its body.
Response error_response(const Error& error, ErrorShape shape, int status);
int status_of(Code code, ErrorShape shape);

Response json_response(const json::Value& value, int status = 200);
Response text_response(std::string text, int status = 200);

/// Called once with the answer, from any thread.
using Reply = std::function<void(Result<Response>)>;

/// A parameter in the query, for OpenAPI.
struct Query {
  std::string_view name;
  std::string_view doc;
  std::string_view type = "string";
  bool repeated = false;
  bool required = false;
};

struct Route {
  std::string id;       ///< "job_stop": OpenAPI's operationId
  Method method = Method::get;
  std::string path;     ///< "/api/v1/jobs/{name}/stop"; a last part {path*} takes the rest, slashes included
  Right right = Right::read;
  std::string summary;
  bool jobs = false;    ///< a job's token may call it too
  ErrorShape errors = ErrorShape::problem;
  std::size_t body_limit = std::size_t{8} << 20;
  bool in_openapi = true;
  std::vector<Query> queries = {};
  bool waits = false;   ///< may wait for another machine or program: runs on threads beside the worker pool
  /// OpenAPI's schemas of the body and the answer; made by json::schema<T>. Empty: any JSON.
  std::function<json::Value(json::Object& components)> body_schema = {};
  std::function<json::Value(json::Object& components)> answer_schema = {};
};

/// `.answer_schema = http::schema_of<Job>`
template <class T>
json::Value schema_of(json::Object& components) {
  return json::schema<T>(components);
}

/// All routes of the program. Filled before the server starts, then read by many threads.
class Router {
 public:
  using Plain = std::function<Result<Response>(Call&)>;         ///< on the worker pool, may block
  using Async = std::function<void(Call, Reply)>;               ///< on the I/O thread, must not block; reply later
  using Upload = std::function<Result<std::unique_ptr<Sink>>(Call&)>;  ///< on the worker pool; the body follows
  struct Entry {
    Route route;
    Plain plain;
    Async async;
    Upload upload;
  };

  void add(Route route, Plain handler);
  void add_async(Route route, Async handler);
  void add_upload(Route route, Upload handler);

  /// For handlers that answer with a struct: `api.get_json<Job>({...}, [&](Call& call) -> Result<Job> {...})`.
  template <class F>
  void add_json(Route route, F handler, int status = 200) {
    using Answer = typename decltype(handler(std::declval<Call&>()))::value_type;
    if constexpr (std::is_void_v<Answer>) {
      add(std::move(route), [handler = std::move(handler)](Call& call) -> Result<Response> {
        LATHE_CHECK(handler(call));
        Response response;
        response.status = 204;
        response.type.clear();
        return response;
      });
    } else {
      if (!route.answer_schema) route.answer_schema = schema_of<Answer>;
      add(std::move(route), [handler = std::move(handler), status](Call& call) -> Result<Response> {
        LATHE_TRY(const auto answer, handler(call));
        return json_response(json::to_json(answer), status);
      });
    }
  }

  /// The entry for a path and method with its path parameters. Errors: `not_found`, or `invalid` for a known path with
  /// another method (`allowed` then lists what it takes).
  struct Match {
    const Entry* entry = nullptr;
    std::vector<std::pair<std::string, std::string>> params;
    std::vector<Method> allowed;  ///< when entry is null: the methods this path takes; empty: unknown path
  };
  Match match(Method method, std::string_view path) const;

  const std::vector<std::unique_ptr<Entry>>& entries() const { return entries_; }

 private:
  struct Node;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::shared_ptr<Node> root_;
};

std::string_view method_name(Method method);

/// The OpenAPI 3.1 document of all routes with `in_openapi`.
json::Value openapi(const Router& router);

}  // namespace lathe::http
