#include "mlflow/table.h"

#include <fmt/format.h>

#include "base/text.h"

namespace lathe::mlflow {

http::Route Table::route_of(std::string id, http::Method method, http::Right right, std::string summary) {
  http::Route route;
  route.id = "mlflow_" + std::move(id);
  route.method = method;
  route.right = right;
  route.summary = std::move(summary);
  route.jobs = right == http::Right::read || right == http::Right::track;
  route.errors = http::ErrorShape::mlflow;
  return route;
}

void Table::each_root(const std::string& path, const http::Route& route, const std::function<void(http::Route)>& add) {
  for (const auto* root : {"/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"}) {
    auto copy = route;
    copy.path = root + path;
    copy.in_openapi = false;  // MLflow's API has its own reference
    add(std::move(copy));
  }
}

void Table::add(std::string id, http::Method method, const std::string& path, http::Right right, std::string summary,
                http::Router::Plain handler) {
  each_root(path, route_of(std::move(id), method, right, std::move(summary)),
            [&](http::Route route) { router_.add(std::move(route), handler); });
}

void Table::add_waiting(std::string id, http::Method method, const std::string& path, http::Right right,
                        std::string summary, http::Router::Plain handler, std::optional<std::size_t> body_limit) {
  auto route = route_of(std::move(id), method, right, std::move(summary));
  route.waits = true;
  route.body_limit = body_limit.value_or(route.body_limit);
  each_root(path, route, [&](http::Route each) { router_.add(std::move(each), handler); });
}

void Table::add_upload(std::string id, const std::string& path, std::string summary, http::Router::Upload handler) {
  auto route = route_of(std::move(id), http::Method::put, http::Right::track, std::move(summary));
  route.waits = true;
  each_root(path, route, [&](http::Route each) { router_.add_upload(std::move(each), handler); });
}

void Table::add_read(std::string id, http::Method method, const std::string& path, std::string summary,
                     Handler handler) {
  add(std::move(id), method, path, http::Right::read, std::move(summary),
      [&db = db_, handler = std::move(handler)](http::Call& call) -> Result<http::Response> {
        LATHE_TRY(const auto fields, Message::read(call));
        const Asked asked{fields, call, now()};
        LATHE_TRY(auto answer, db.read([&](db::Connection& c) { return handler(c, asked); }));
        return std::move(answer.response);
      });
}

void Table::add_write(std::string id, http::Method method, const std::string& path, http::Right right,
                      std::string summary, Handler handler) {
  add(std::move(id), method, path, right, std::move(summary),
      [&db = db_, handler = std::move(handler)](http::Call& call) -> Result<http::Response> {
        LATHE_TRY(const auto fields, Message::read(call));
        const Asked asked{fields, call, now()};
        LATHE_TRY(auto answer, db.write([&](db::Connection& c) { return handler(c, asked); }));
        return std::move(answer.response);
      });
}

Result<tracking::View> view_of(const Message& message, std::string_view name) {
  LATHE_TRY(const auto view, message.choice(name, {"ACTIVE_ONLY", "DELETED_ONLY", "ALL"}));
  return static_cast<tracking::View>(view.value_or(1) - 1);  // in the same order
}

Result<std::size_t> limit_of(const Message& message, std::size_t absent) {
  LATHE_TRY(const auto limit, message.integer("max_results"));
  if (!limit) return absent;
  if (*limit < 1)
    return fail(
        Code::invalid,
        fmt::format("Invalid value {} for parameter 'max_results' supplied. It must be a positive integer", *limit));
  return static_cast<std::size_t>(*limit);
}

Result<std::int64_t> version_of(const Message& message) {
  LATHE_CHECK(message.check_there("version"));
  if (const auto number = message.integer("version"); number) return **number;
  LATHE_TRY(const auto text, message.need("version"));
  return fail(Code::invalid,
              fmt::format("Parameter 'version' must be an integer, got '{}'.", printable(text.substr(0, 300))));
}

std::vector<tracking::Tag> tags_of(std::vector<Pair> pairs) {
  std::vector<tracking::Tag> out;
  out.reserve(pairs.size());
  for (auto& pair : pairs) out.push_back({std::move(pair.key), std::move(pair.value)});
  return out;
}

}  // namespace lathe::mlflow
