#include "infer/http/cors.h"

#include <algorithm>
#include <cctype>

namespace lathe::infer::http {
namespace {

constexpr std::string_view kAnySite = "*";
constexpr std::string_view kExposed =
    "Access-Control-Expose-Headers: azureml-model-deployment, Inference-Header-Content-Length, Retry-After, "
    "ms-azureml-model-error-statuscode, ms-azureml-model-error-reason, x-ms-run-function-failed, "
    "x-ms-run-fn-exec-ms\r\n";

bool has_header(std::string_view lines, std::string_view name) {
  while (!lines.empty()) {
    if (lines.size() > name.size() && lines[name.size()] == ':' &&
        equal_ignoring_case(lines.substr(0, name.size()), name))
      return true;
    const auto end = lines.find("\r\n");
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
  }
  return false;
}

/// Names of headers, with commas between them.
bool is_list_of_names(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_., ").find(c) != std::string_view::npos;
  });
}

bool is_any(const std::vector<std::string>& origins) {
  return std::find(origins.begin(), origins.end(), kAnySite) != origins.end();
}

/// Who may read the reply; a cache must know that it differs by site.
std::string origin_lines(const std::vector<std::string>& origins, std::string_view origin) {
  if (is_any(origins)) return "Access-Control-Allow-Origin: *\r\n";
  std::string out = "Vary: Origin\r\n";
  if (allows_origin(origins, origin)) out += "Access-Control-Allow-Origin: " + std::string(origin) + "\r\n";
  return out;
}

}  // namespace

bool allows_origin(const std::vector<std::string>& origins, std::string_view origin) {
  return std::any_of(origins.begin(), origins.end(),
                     [&](const std::string& each) { return each == kAnySite || (!origin.empty() && each == origin); });
}

std::string cors_lines(const std::vector<std::string>& origins, const Request& request, std::string_view headers) {
  if (has_header(headers, "access-control-allow-origin")) return {};
  const auto origin = request.header("origin");
  auto out = origin_lines(origins, origin);
  if (!origin.empty() && allows_origin(origins, origin)) out += kExposed;
  return out;
}

bool is_preflight(const Request& request) {
  return !request.grpc && request.method == "OPTIONS" && !request.header("origin").empty() &&
         !request.header("access-control-request-method").empty();
}

std::string preflight_lines(const std::vector<std::string>& origins, const Request& request, std::string_view method) {
  auto out = origin_lines(origins, request.header("origin"));
  out += "Access-Control-Allow-Methods: " + std::string(method) + "\r\n";
  const auto asked = request.header("access-control-request-headers");
  out += "Access-Control-Allow-Headers: " +
         std::string(!asked.empty() && is_list_of_names(asked) ? asked : "Authorization, Content-Type") + "\r\n";
  return out + "Access-Control-Max-Age: 600\r\n";
}

}  // namespace lathe::infer::http
