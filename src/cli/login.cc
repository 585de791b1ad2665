#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <iostream>

#include "base/text.h"
#include "cli/contexts.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

/// One line of standard input, not shown where somebody types it.
std::string read_secret(const std::string& prompt) {
  termios shown{};
  const bool terminal = ::isatty(STDIN_FILENO) != 0 && ::tcgetattr(STDIN_FILENO, &shown) == 0;
  if (terminal) {
    std::fprintf(stderr, "%s", prompt.c_str());
    termios hidden = shown;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &hidden);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &shown);
    std::fprintf(stderr, "\n");
  }
  return std::string(trim(line));
}

std::string host_of(std::string_view url) {
  const auto start = url.find("://");
  auto rest = start == std::string_view::npos ? url : url.substr(start + 3);
  rest = rest.substr(0, rest.find('/'));
  if (!rest.starts_with('[')) rest = rest.substr(0, rest.find(':'));
  return std::string(rest);
}

std::string text_of(const json::Value& value, const char* key) {
  const auto* field = find_field(value, key);
  return field != nullptr && field->is_string() ? std::string(json::view(field->get_string())) : "";
}

json::Object shown(const std::string& name, const Context& context, bool current) {
  json::Object out{{"name", name}, {"url", context.url}, {"user", context.user}, {"current", current}};
  if (!context.certificate_sha256.empty()) out["certificate_sha256"] = context.certificate_sha256;
  return out;
}

}  // namespace

Result<int> run_login(Session& session) {
  LATHE_TRY(auto url, session.need("--url"));
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    return fail(Code::invalid,
                fmt::format("\"{}\" is not a server's URL; expected http://HOST:PORT or https://HOST", url));
  Context context{url, {}, {}, {}};
  if (url.starts_with("https://")) {
    LATHE_TRY(context.certificate_sha256, http::certificate_fingerprint(url));
    Session::say(
        fmt::format("lathe: the certificate of {} has the SHA-256 {}; it is pinned", url, context.certificate_sha256));
  }
  const auto given = session.arguments.get("--token");
  context.token = given && *given != "-" ? *given : read_secret(fmt::format("Token for {}: ", url));

  http::Client client({.url = url, .token = context.token, .certificate_sha256 = context.certificate_sha256});
  const auto response = client.request("GET", "/api/v1/me");
  if (!response) return fail(response.error());
  if (response->status >= 400) return fail(session.problem(*response));
  const auto me = json::parse(response->body);
  if (!me || text_of(*me, "user").empty()) return fail(Code::unavailable, fmt::format("{} is not a Lathe server", url));
  context.user = text_of(*me, "user");

  LATHE_TRY(auto contexts, Contexts::load());
  const auto name = session.arguments.get_or("--name", host_of(url));
  contexts.all[name] = context;
  contexts.current = name;
  LATHE_CHECK(contexts.save());
  Session::say(fmt::format("lathe: logged in to {} as {} ({}); context \"{}\" is in use", url, context.user,
                           text_of(*me, "role"), name));
  return 0;
}

Result<int> run_logout(Session& session) {
  LATHE_TRY(auto contexts, Contexts::load());
  const auto name = session.arguments.get_or("--name", session.arguments.get_or("--context", contexts.current));
  if (name.empty()) return fail(Code::not_found, "no context is in use");
  LATHE_CHECK(contexts.find(name));
  contexts.all.erase(name);
  if (contexts.current == name) contexts.current.clear();
  LATHE_CHECK(contexts.save());
  Session::say(fmt::format(
      "lathe: forgot \"{}\" and its token; `lathe token revoke` on the server makes a token worthless", name));
  return 0;
}

Result<int> run_context_list(Session& session) {
  LATHE_TRY(const auto contexts, Contexts::load());
  json::Array out;
  for (const auto& [name, context] : contexts.all) out.push_back(shown(name, context, name == contexts.current));
  return session.print(json::Value(std::move(out)), session.group.columns);
}

Result<int> run_context_use(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  LATHE_TRY(auto contexts, Contexts::load());
  if (name != "local") LATHE_CHECK(contexts.find(name));
  contexts.current = name == "local" ? "" : name;
  LATHE_CHECK(contexts.save());
  Session::say(name == "local" ? "lathe: the server on this machine is in use"
                               : fmt::format("lathe: context \"{}\" is in use", name));
  return 0;
}

Result<int> run_context_delete(Session& session) {
  return run_logout(session);
}

}  // namespace lathe::cli
