#include "infer/route.h"

#include <algorithm>
#include <utility>

namespace lathe::infer {
namespace {

constexpr std::pair<std::string_view, Operation> kPlainPaths[] = {
    {"/invocations", Operation::invocations},
    {"/score", Operation::score},
    {"/v2/health/live", Operation::live},
    {"/v2/health/ready", Operation::ready},
    {"/v2", Operation::server_metadata},
    {"/v2/", Operation::server_metadata},
    {"/ping", Operation::ping},
    {"/health", Operation::ping},
    {"/version", Operation::version},
    {"/metrics", Operation::metrics},
};

/// Takes the text up to the next slash off the front of `rest`.
std::string_view take_segment(std::string_view& rest) {
  const auto end = std::min(rest.find('/'), rest.size());
  const auto segment = rest.substr(0, end);
  rest.remove_prefix(end);
  return segment;
}

bool take_prefix(std::string_view& rest, std::string_view prefix) {
  if (!rest.starts_with(prefix)) return false;
  rest.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::optional<Route> parse_route(std::string_view path) {
  Route route;
  if (take_prefix(path, "/endpoints/")) {
    route.endpoint = take_segment(path);
    if (route.endpoint.empty()) return std::nullopt;
  }
  if (take_prefix(path, "/v2/models/")) {
    route.model = take_segment(path);
    if (route.model.empty()) return std::nullopt;
    if (take_prefix(path, "/versions/")) {
      route.version = take_segment(path);
      if (route.version.empty()) return std::nullopt;
    }
    if (path == "/infer")
      route.operation = Operation::infer;
    else if (path == "/ready")
      route.operation = Operation::model_ready;
    else if (path.empty())
      route.operation = Operation::model_metadata;
    else
      return std::nullopt;
    return route;
  }
  for (const auto& [plain, operation] : kPlainPaths)
    if (path == plain) {
      route.operation = operation;
      return route;
    }
  return std::nullopt;
}

}  // namespace lathe::infer
