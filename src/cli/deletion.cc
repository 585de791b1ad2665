#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "base/text.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

std::string text_of(const json::Value& value, std::string_view field) {
  const auto* found = find_field(value, field);
  return found != nullptr && found->is_string() ? std::string(json::view(found->get_string())) : "";
}

/// What `answer` named is gone when the list of removals does not have it any more.
Result<bool> is_under_way(Session& session, const json::Value& answer) {
  LATHE_TRY(const auto list, session.call("GET", "/api/v1/removals"));
  const auto* value = find_field(list, "value");
  if (value == nullptr || !value->is_array()) return false;
  for (const auto& removal : value->get_array())
    if (text_of(removal, "kind") == text_of(answer, "kind") && text_of(removal, "id") == text_of(answer, "id"))
      return true;
  return false;
}

Result<int> wait_and_print(Session& session, const json::Value& answer) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + std::chrono::minutes(10);
  auto pause = std::chrono::milliseconds(20);
  bool waits = text_of(answer, "state") == "removing" && !session.arguments.has("--no-wait");
  if (waits)
    Session::say(fmt::format("lathe: removing {} {} with all that it holds; --no-wait goes on at once",
                             session.group.noun,
                             text_of(answer, "name").empty() ? text_of(answer, "id") : text_of(answer, "name")));
  while (waits) {
    LATHE_TRY(waits, is_under_way(session, answer));
    if (!waits) break;
    if (steady_clock::now() > deadline) {
      Session::say("lathe: it is gone for everybody; the server goes on removing what it held");
      break;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(1000));
  }
  return session.print(answer);
}

Result<int> remove(Session& session, const std::string& path, const std::string& what, bool final) {
  const bool permanently = session.arguments.has("--permanently");
  if (permanently || final) {
    LATHE_TRY(const bool sure, session.confirm(fmt::format("Delete the {}{}? This cannot be taken back.", what,
                                                           permanently ? " permanently, with all that it holds" : "")));
    if (!sure) return 1;
  }
  LATHE_TRY(const auto answer, session.call("DELETE", path + (permanently ? "?permanently=true" : "")));
  return wait_and_print(session, answer);
}

}  // namespace

Result<int> run_delete(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  return remove(session, path, fmt::format("{} {}", session.group.noun, name), false);
}

Result<int> run_model_delete(Session& session) {
  LATHE_TRY(auto name, session.need("--name"));
  auto version = session.arguments.get("--version");
  if (const auto colon = name.find(':'); colon != std::string::npos && !version) {
    version = name.substr(colon + 1);
    name.resize(colon);
  }
  const auto path = fmt::format("{}/{}", session.verb.path, url_encode(name));
  if (!version) return remove(session, path, fmt::format("model {} with all its versions", name), true);
  return remove(session, path + "/versions/" + url_encode(*version), fmt::format("model {}:{}", name, *version), true);
}

Result<int> run_experiment_create(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  json::Array tags;
  for (const auto& text : session.arguments.all("--tags")) {
    const auto equals = text.find('=');
    if (equals == std::string::npos) return fail(Code::invalid, fmt::format("--tags {}: expected KEY=VALUE", text));
    tags.push_back(json::Object{{"key", text.substr(0, equals)}, {"value", text.substr(equals + 1)}});
  }
  const json::Value body = json::Object{{"name", name}, {"tags", std::move(tags)}};
  LATHE_TRY(const auto answer, session.call("POST", std::string(session.verb.path), &body));
  return session.print(answer);
}

}  // namespace lathe::cli
