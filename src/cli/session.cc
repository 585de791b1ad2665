#include "cli/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/text.h"
#include "cli/jmespath.h"
#include "cli/output.h"

namespace lathe::cli {
namespace {

Code code_of(int status) {
  switch (status) {
    case 400:
    case 405:
    case 422:
      return Code::invalid;
    case 401:
      return Code::unauthenticated;
    case 403:
      return Code::forbidden;
    case 404:
      return Code::not_found;
    case 409:
      return Code::conflict;
    case 408:
    case 504:
      return Code::timeout;
    case 413:
    case 429:
    case 507:
      return Code::exhausted;
    case 415:
      return Code::unsupported_media;
    case 502:
    case 503:
      return Code::unavailable;
    default:
      return Code::internal;
  }
}

std::string flag_of(std::string_view part) {
  std::string flag = "--" + std::string(part);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

}  // namespace

Result<const Target*> Session::target() {
  if (!target_) {
    LATHE_TRY(target_, find_server(arguments));
  }
  return &*target_;
}

Result<http::Client*> Session::client() {
  if (!client_) {
    LATHE_TRY(const auto* server, target());
    client_ = std::make_unique<http::Client>(
        http::ClientOptions{.url = server->url,
                            .token = server->token,
                            .certificate_sha256 = server->certificate_sha256,
                            .timeout = std::chrono::minutes(11)});  // a server waits up to ten for what it makes
  }
  return client_.get();
}

Error Session::explained(Error error) {
  if (error.code == Code::unavailable && target_ && target_->here) return no_server();
  return error;
}

Error Session::problem(const http::ClientResponse& response) const {
  Error error{code_of(response.status), fmt::format("the server answered {}", response.status), {}};
  if (const auto body = json::parse_object(response.body)) {
    for (const auto* key : {"detail", "message", "title", "error"}) {
      const auto text = json::get_string(*body, key);
      if (!text || !*text || (*text)->empty()) continue;
      error.message = document.located(**text);
      break;
    }
  }
  if (error.code == Code::unauthenticated)
    error.message += fmt::format(" (`lathe login {}` stores a token; --token and LATHE_TOKEN give one)",
                                 target_ ? target_->url : "URL");
  return error;
}

Result<json::Value> Session::call(std::string_view method, const std::string& path, const json::Value* body) {
  LATHE_TRY(auto* http, client());
  auto response = http->request(method, path, body != nullptr ? json::print(*body) : std::string());
  if (!response) return fail(explained(response.error()));
  if (response->status >= 400) return fail(problem(*response));
  if (response->body.empty()) return json::Value(nullptr);
  auto value = json::parse(response->body);
  if (!value)
    return fail(Code::internal,
                fmt::format("{} did not answer as a Lathe server: {}", target_->url, value.error().message));
  return value;
}

Result<std::string> Session::need(std::string_view flag) const {
  if (auto value = arguments.get(flag)) return *value;
  return fail(Code::invalid, fmt::format("{} is needed (see `lathe {} {} --help`)", flag, group.name, verb.name));
}

Result<std::string> Session::expand(std::string_view path) const {
  std::string out;
  while (!path.empty()) {
    const auto open = path.find('{');
    out += path.substr(0, open);
    if (open == std::string_view::npos) break;
    const auto close = path.find('}', open);
    const auto part = path.substr(open + 1, close - open - 1);
    path.remove_prefix(close + 1);
    auto value = arguments.get(flag_of(part));
    if (!value && document.yaml.value.is_object())
      if (const auto* field = json::find(document.fields(), part))
        value = field->is_string() ? std::string(json::view(field->get_string())) : json::print(*field);
    if (!value) {
      LATHE_TRY(value, need(flag_of(part)));
    }
    out += url_encode(*value);
  }
  char separator = '?';
  for (const auto& flag : verb.flags) {
    if (flag.goes != Goes::query) continue;
    for (const auto& value : arguments.all(flag.name)) {
      out += fmt::format("{}{}={}", separator, flag.target, url_encode(value));
      separator = '&';
    }
  }
  return out;
}

Result<int> Session::print(const json::Value& result, const std::vector<Column>& columns) const {
  const auto format = arguments.get_or("--output", "json");
  std::string text;
  if (const auto query = arguments.get("--query")) {
    LATHE_TRY(const auto path, JmesPath::compile(*query));
    LATHE_TRY(const auto selected, path.apply(result));
    text = render(selected, format, {});
  } else if (!result.is_null() || format == "json") {
    text = result.is_null() ? "" : render(result, format, columns);
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) return fail(Code::exhausted, "cannot write to standard output");
  return 0;
}

void Session::say(const std::string& message) {
  std::fflush(stdout);
  const auto line = message + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void Session::print_report(const json::Value& answer) const {
  const auto* object = answer.if_object();
  const auto* report = object != nullptr ? object->if_contains("report") : nullptr;
  if (report == nullptr || !report->is_array()) return;
  for (const auto& entry : report->get_array()) {
    if (!entry.is_object()) continue;
    const auto text = [&](const char* key) {
      const auto value = json::get_string(entry.get_object(), key);
      return value && *value ? **value : std::string();
    };
    const auto detail = text("detail");
    say(document.located(
        fmt::format("{}: {}{}{}", text("field"), text("verdict"), detail.empty() ? "" : ": ", detail)));
  }
}

Result<bool> Session::confirm(const std::string& question) const {
  if (arguments.has("--yes")) return true;
  if (::isatty(STDIN_FILENO) == 0)
    return fail(Code::invalid, fmt::format("{} Nobody can be asked here: say --yes", question));
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace lathe::cli
