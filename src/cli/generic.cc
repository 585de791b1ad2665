#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "base/text.h"
#include "cli/handlers.h"
#include "cli/local_files.h"
#include "cli/session.h"

namespace lathe::cli {
namespace {

std::string text_of(const json::Value& value, const char* key) {
  const auto* object = value.if_object();
  if (object == nullptr) return "";
  const auto text = json::get_string(*object, key);
  return text && *text ? **text : "";
}

/// Waits until what was asked for is there, or cannot be. --no-wait does not.
Result<int> wait_and_print(Session& session, const std::string& path, json::Value answer) {
  using std::chrono::steady_clock;
  constexpr auto kLimit = std::chrono::minutes(10);
  const auto deadline = steady_clock::now() + kLimit;
  auto pause = std::chrono::milliseconds(20);
  const auto state = [&] { return to_lower(text_of(answer, "provisioning_state")); };
  while (!session.arguments.has("--no-wait") && (state() == "creating" || state() == "updating")) {
    if (steady_clock::now() > deadline)
      return fail(Code::timeout, fmt::format("{} is still {} after 10 minutes; `lathe {} show` tells how it goes on",
                                             text_of(answer, "name"), state(), session.group.name));
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(1000));
    LATHE_TRY(answer, session.call("GET", path));
  }
  LATHE_TRY(auto code, session.print(answer));
  if (state() == "failed") {
    const auto why = text_of(answer, "error");
    Session::say(fmt::format("lathe: {} failed{}{}", text_of(answer, "name"), why.empty() ? "" : ": ", why));
    code = 1;
  }
  return code;
}

std::string without_query(const std::string& path) {
  return path.substr(0, path.find('?'));
}

/// The verb's path; with --no-wait the server is told not to wait either.
Result<std::string> path_of(const Session& session) {
  LATHE_TRY(auto path, session.expand(session.verb.path));
  if (session.arguments.has("--no-wait")) path += path.find('?') == std::string::npos ? "?wait_s=0" : "&wait_s=0";
  return path;
}

}  // namespace

Result<json::Value> send_document(Session& session, std::string_view method, const std::string& path) {
  const auto original = session.document.yaml.value;
  LATHE_TRY(const bool sent_paths, take_local_files(session, session.document, false));
  auto answer = session.call(method, path, &session.document.yaml.value);
  if (!answer && sent_paths && answer.error().code == Code::forbidden) {
    Session::say(fmt::format("lathe: {}; uploading instead", answer.error().message));
    session.document.yaml.value = original;
    LATHE_TRY(const bool still, take_local_files(session, session.document, true));
    static_cast<void>(still);
    answer = session.call(method, path, &session.document.yaml.value);
  }
  if (answer) session.print_report(*answer);
  return answer;
}

namespace {

Result<void> read_document(Session& session) {
  LATHE_TRY(session.document, build_document(session.verb, session.arguments));
  if (session.document.fields().empty())
    return fail(Code::invalid, fmt::format("-f FILE or flags are needed: what to create (see `lathe {} {} --help`)",
                                           session.group.name, session.verb.name));
  return {};
}

Result<int> create(Session& session) {
  LATHE_TRY(const auto path, path_of(session));
  LATHE_TRY(auto answer, send_document(session, session.verb.method, path));
  const auto made = without_query(path) + "/" + url_encode(text_of(answer, "name"));
  return wait_and_print(session, made, std::move(answer));
}

}  // namespace

Result<int> run_create(Session& session) {
  LATHE_CHECK(read_document(session));
  return create(session);
}

Result<int> run_compute_attach(Session& session) {
  LATHE_CHECK(read_document(session));
  auto& type = session.document.fields()["type"];
  if (type.is_null()) type = "slurm";
  if (!type.is_string() || to_lower(std::string(json::view(type.get_string()))) != "slurm")
    return fail(Code::invalid, fmt::format("type: what can be attached is a partition of a Slurm cluster (slurm), not {}; "
                                           "clusters and instances of this machine are made by `lathe compute create`",
                                           json::print(type)));
  return create(session);
}

Result<int> run_update(Session& session) {
  LATHE_TRY(session.document, build_document(session.verb, session.arguments));
  LATHE_TRY(const auto path, path_of(session));
  LATHE_TRY(auto answer, send_document(session, session.verb.method, path));
  return wait_and_print(session, without_query(path), std::move(answer));
}

Result<int> run_show(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto answer, session.call(session.verb.method, path));
  return session.print(answer);
}

Result<std::string> version_path(const Session& session) {
  std::string path(session.verb.path);
  auto name = session.arguments.get_or("--name", "");
  std::optional<std::string> version = session.arguments.get("--version");
  std::optional<std::string> label = session.arguments.get("--label");
  if (const auto at = name.find('@'); at != std::string::npos && !version && !label) {
    label = name.substr(at + 1);
    name.resize(at);
  } else if (const auto colon = name.find(':'); colon != std::string::npos && !version && !label) {
    version = name.substr(colon + 1);
    name.resize(colon);
  }
  if (name.empty()) {
    LATHE_TRY(name, session.need("--name"));
  }
  path += "/" + url_encode(name);
  if (version)
    path += "/versions/" + url_encode(*version);
  else if (label)
    path += "/labels/" + url_encode(*label);
  return path;
}

Result<int> run_show_version(Session& session) {
  LATHE_TRY(const auto path, version_path(session));
  LATHE_TRY(const auto answer, session.call("GET", path));
  return session.print(answer);
}

Result<std::size_t> max_results(const Session& session, std::size_t otherwise) {
  const auto text = session.arguments.get("--max-results");
  if (!text) return otherwise;
  const auto value = json::plain_scalar(*text);
  if (!value.is_int64() || value.get_int64() < 1)
    return fail(Code::invalid, fmt::format("--max-results {}: expected a whole number from 1", *text));
  return static_cast<std::size_t>(value.get_int64());
}

Result<int> run_list(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto most, max_results(session, SIZE_MAX));
  json::Array items;
  std::string page = path;
  while (true) {
    LATHE_TRY(auto answer, session.call("GET", page));
    auto* object = answer.if_object();
    auto* list = object != nullptr ? object->if_contains("value") : nullptr;
    if (list == nullptr || !list->is_array()) return session.print(answer);
    for (auto& item : list->get_array()) {
      if (items.size() == most) break;
      items.push_back(std::move(item));
    }
    const auto next = text_of(answer, "next");
    if (next.empty() || items.size() >= most) break;
    page = fmt::format("{}{}next={}", path, path.find('?') == std::string::npos ? '?' : '&', url_encode(next));
  }
  return session.print(json::Value(std::move(items)),
                       session.verb.name == "list" ? session.group.columns : std::vector<Column>{});
}

Result<int> run_act(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto answer, session.call(session.verb.method, path));
  return session.print(answer);
}

Result<int> run_act_on_version(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  std::string path = fmt::format("{}/{}", session.verb.path, url_encode(name));
  if (const auto version = session.arguments.get("--version")) path += "/versions/" + url_encode(*version);
  LATHE_TRY(const auto answer, session.call("POST", fmt::format("{}/{}", path, session.verb.name)));
  return session.print(answer);
}

Result<int> run_remove(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  const auto what = session.arguments.get_or(session.verb.positional, "");
  LATHE_TRY(const bool sure, session.confirm(fmt::format("Delete the {} {}?", session.group.noun, what)));
  if (!sure) return 1;
  LATHE_TRY(const auto answer, session.call("DELETE", path));
  return session.print(answer);
}

}  // namespace lathe::cli
