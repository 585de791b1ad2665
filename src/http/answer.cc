#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "http/http.h"

namespace lathe::http {
namespace {

constexpr std::size_t kLongestMessage = 4000;

struct Shape {
  int status;
  std::string_view title;
  int mlflow_status;
  std::string_view mlflow_code;
};

Shape shape_of(Code code) {
  switch (code) {
    case Code::invalid: return {400, "Bad Request", 400, "INVALID_PARAMETER_VALUE"};
    case Code::unauthenticated: return {401, "Unauthorized", 401, "UNAUTHENTICATED"};
    case Code::forbidden: return {403, "Forbidden", 403, "PERMISSION_DENIED"};
    case Code::not_found: return {404, "Not Found", 404, "RESOURCE_DOES_NOT_EXIST"};
    case Code::conflict: return {409, "Conflict", 400, "RESOURCE_ALREADY_EXISTS"};
    case Code::exhausted: return {507, "Insufficient Storage", 429, "RESOURCE_EXHAUSTED"};
    case Code::timeout: return {504, "Gateway Timeout", 504, "DEADLINE_EXCEEDED"};
    case Code::unavailable: return {503, "Service Unavailable", 503, "TEMPORARILY_UNAVAILABLE"};
    case Code::unsupported_media: return {415, "Unsupported Media Type", 400, "INVALID_PARAMETER_VALUE"};
    case Code::internal: break;
  }
  return {500, "Internal Server Error", 500, "INTERNAL_ERROR"};
}

/// Of the statuses that no code stands for.
std::string_view title_of(int status) {
  switch (status) {
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    default: return "Bad Request";
  }
}

/// Messages quote what clients sent: JSON has to hold them, and a page of them is enough.
std::string told(const std::string& message) {
  if (message.size() <= kLongestMessage && is_utf8(message)) return message;
  auto out = message.substr(0, kLongestMessage);
  if (!is_utf8(out)) std::replace_if(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return message.size() > kLongestMessage ? out + "..." : out;
}

}  // namespace

int status_of(Code code, ErrorShape shape) {
  const auto found = shape_of(code);
  return shape == ErrorShape::mlflow ? found.mlflow_status : found.status;
}

Response error_response(const Error& error, ErrorShape shape) {
  return error_response(error, shape, status_of(error.code, shape));
}

Response error_response(const Error& error, ErrorShape shape, int status) {
  const auto message = told(error.message);
  const auto found = shape_of(error.code);
  Response response;
  response.status = status;
  if (shape == ErrorShape::mlflow) {
    const std::string_view code = error.foreign_code.empty() ? found.mlflow_code : std::string_view(error.foreign_code);
    if (code == "ENDPOINT_NOT_FOUND") response.status = 404;
    response.body = json::print(json::Object{{"error_code", boost::json::string_view(code.data(), code.size())},
                                             {"message", message}});
  } else {
    const auto title = status == found.status ? found.title : title_of(status);
    response.type = "application/problem+json";
    response.body = json::print(json::Object{{"type", "about:blank"},
                                             {"title", boost::json::string_view(title.data(), title.size())},
                                             {"status", status},
                                             {"detail", message}});
  }
  if (error.code == Code::unavailable) response.headers.emplace_back("Retry-After", "1");
  if (error.code == Code::unauthenticated) response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"lathe\"");
  return response;
}

Response json_response(const json::Value& value, int status) {
  Response response;
  response.status = status;
  response.body = json::print(value);
  return response;
}

Response text_response(std::string text, int status) {
  Response response;
  response.status = status;
  response.type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

std::string_view Call::param(std::string_view name) const {
  for (const auto& [key, value] : params)
    if (key == name) return value;
  return {};
}

std::optional<std::string> Call::query(std::string_view name) const {
  for (const auto& [key, value] : queries)
    if (key == name) return value;
  return std::nullopt;
}

std::vector<std::string> Call::query_all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : queries)
    if (key == name) out.push_back(value);
  return out;
}

std::optional<std::string_view> Call::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return std::nullopt;
}

Result<json::Object> Call::json_body() const {
  // Also the guard against forged cross-site posts: a browser cannot send this type without asking first.
  const auto type = header("content-type").value_or("");
  if (!to_lower(type.substr(0, type.find(';'))).starts_with("application/json"))
    return fail(Code::unsupported_media, "send the body as Content-Type: application/json");
  if (trim(body).empty()) return json::Object{};
  return json::parse_object(body);
}

}  // namespace lathe::http
