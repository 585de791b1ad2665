#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/text.h"
#include "cli/download.h"
#include "cli/exit_codes.h"
#include "cli/handlers.h"
#include "cli/interrupt.h"
#include "cli/session.h"
#include "cli/sse.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr auto kAwayLimit = std::chrono::minutes(10);

std::string text_in(const json::Object& object, const char* key) {
  const auto text = json::get_string(object, key);
  return text && *text ? **text : "";
}

/// " and 3 more nodes", of a job on several.
std::string more_nodes(const json::Object& job) {
  const auto nodes = json::get_array(job, "nodes");
  const std::size_t more = nodes && *nodes != nullptr && (*nodes)->size() > 1 ? (*nodes)->size() - 1 : 0;
  return more == 0 ? "" : fmt::format(" and {} more node{}", more, more == 1 ? "" : "s");
}

/// What is followed: a job, or the build of an environment, which speaks as a job does.
struct Followed {
  std::string events;  ///< path, up to the offset
  std::string name;
  std::string noun;
  std::string again;  ///< the command that follows it again
  std::string end;    ///< the command that ends it
};

Followed job_named(const std::string& name, const std::string& rank = "0") {
  return {fmt::format("/api/v1/jobs/{}/events?rank={}&offset=", url_encode(name), url_encode(rank)), name, "job", "lathe job stream -n " + name,
          "lathe job cancel -n " + name};
}

/// Follows its events: its output to stdout, its states to stderr.
class Follower {
 public:
  Follower(Session& session, Followed what, std::FILE* log = stdout)
      : session_(session), what_(std::move(what)), log_(log) {}

  Result<int> run() {
    const Interrupt interrupt;
    LATHE_TRY(auto* http, session_.client());
    bool connected_once = false;
    bool said_away = false;
    auto last_heard = steady_clock::now();
    auto pause = std::chrono::milliseconds(50);
    while (true) {
      EventReader reader([this](const Event& event) { take(event); });
      const auto path = fmt::format("{}{}", what_.events, offset_);
      const auto response = http->stream("GET", path, [&](std::string_view piece) {
        if (!piece.empty()) {
          connected_once = true;
          last_heard = steady_clock::now();
          pause = std::chrono::milliseconds(50);
          if (std::exchange(said_away, false)) Session::say("lathe: the server is back");
          reader.read(piece);
        }
        return !ended_ && !closed_ && !Interrupt::seen();
      });
      if (ended_) return verdict();
      if (closed_)
        return fail(Code::exhausted, fmt::format("cannot write to standard output; the {} goes on", what_.noun));
      if (Interrupt::seen()) return detached();
      if (response && response->status >= 400 && response->status != 503) return fail(session_.problem(*response));
      if (!response && !connected_once) return fail(session_.explained(response.error()));
      if (steady_clock::now() - last_heard > kAwayLimit)
        return fail(Code::unavailable, fmt::format("the server was away for 10 minutes; `{}` follows the {} again",
                                                   what_.again, what_.noun));
      if (!response && !std::exchange(said_away, true))
        Session::say(fmt::format("lathe: the server is away; the {} goes on, waiting for the server", what_.noun));
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::milliseconds(1000));
    }
  }

 private:
  void take(const Event& event) {
    const auto data = json::parse_object(event.data);
    if (!data) return;
    if (event.type == "log") {
      const auto text = text_in(*data, "text");
      closed_ = std::fwrite(text.data(), 1, text.size(), log_) != text.size() || std::fflush(log_) != 0;
      const auto next = json::get_int(*data, "next");
      const auto from = json::get_int(*data, "offset");
      if (next && *next)
        offset_ = static_cast<std::uint64_t>(**next);
      else if (from && *from)
        offset_ = static_cast<std::uint64_t>(**from) + text.size();
    } else if (event.type == "state" || event.type == "end") {
      show_state(*data);
      if (event.type == "end") ended_ = *data;
    }
  }

  void show_state(const json::Object& job) {
    std::string line = text_in(job, "status");
    if (const auto waits = text_in(job, "waiting_for"); !waits.empty())
      line += ": " + waits;
    else if (const auto node = text_in(job, "node"); !node.empty() && line == "Running")
      line += " on " + node + more_nodes(job);
    if (std::exchange(shown_, line) != line) Session::say("lathe: " + line);
  }

  Result<int> verdict() {
    if (text_in(*ended_, "status") == "Completed") return 0;
    auto why = text_in(*ended_, "error");
    why = why.substr(0, why.find("\nIts last lines:"));  // they have just been shown
    Session::say(fmt::format("lathe: {} {} {}{}{}", what_.noun, what_.name, to_lower(text_in(*ended_, "status")),
                             why.empty() ? "" : ": ", why));
    return kExitFailed;
  }

  Result<int> detached() {
    Session::say(fmt::format("\nlathe: detached; the {} goes on. `{}` follows it again, `{}` ends it", what_.noun,
                             what_.again, what_.end));
    return kExitInterrupted;
  }

  Session& session_;
  const Followed what_;
  std::FILE* const log_;
  std::uint64_t offset_ = 0;
  std::string shown_;
  std::optional<json::Object> ended_;
  bool closed_ = false;
};

}  // namespace

Result<int> run_job_create(Session& session) {
  LATHE_TRY(session.document, build_document(session.verb, session.arguments));
  auto& fields = session.document.fields();
  if (fields.empty()) return fail(Code::invalid, "-f FILE is needed: the job's YAML (see `lathe job create --help`)");
  if (!fields.contains("experiment_name")) {
    std::error_code ignored;
    const auto folder = fs::current_path(ignored).filename().string();
    if (!folder.empty()) fields["experiment_name"] = folder;
  }
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto job, send_document(session, session.verb.method, path));
  if (!session.arguments.has("--stream")) return session.print(job);
  if (!job.is_object()) return fail(Code::internal, "the server did not answer with a job");
  const auto name = text_in(job.get_object(), "name");
  Session::say(fmt::format("lathe: job {}", name));
  return follow_job(session, name, stdout);
}

Result<int> follow_job(Session& session, const std::string& name, std::FILE* log) {
  return Follower(session, job_named(name), log).run();
}

Result<int> run_job_stream(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  return Follower(session, job_named(name, session.arguments.get_or("--rank", "0"))).run();
}

Result<int> run_environment_log(Session& session) {
  LATHE_TRY(const auto digest, session.need("--digest"));
  LATHE_TRY(const auto events, session.expand(session.verb.path));
  return Follower(session, {events + "?offset=", digest, "build", "lathe environment build-log " + digest,
                            "lathe environment cancel-build " + digest})
      .run();
}

Result<int> run_job_why(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto answer, session.call("GET", path));
  if (session.arguments.has("--output") || session.arguments.has("--query") || !answer.is_object()) return session.print(answer);
  const auto sentence = text_in(answer.get_object(), "sentence") + "\n";
  std::fwrite(sentence.data(), 1, sentence.size(), stdout);
  if (std::fflush(stdout) != 0) return fail(Code::exhausted, "cannot write to standard output");
  return 0;
}

Result<int> run_job_download(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  const fs::path folder = session.arguments.get_or("--download-path", ".");
  const auto base = "/api/v1/jobs/" + url_encode(name) + "/files";
  if (const auto output = session.arguments.get("--output-name")) {
    const auto prefix = "named-outputs/" + *output + "/";
    return download(session, base, folder, [&](std::string_view path) { return path.starts_with(prefix); });
  }
  const bool all = session.arguments.has("--all");
  return download(session, base, folder,
                  [&](std::string_view path) { return all || !path.starts_with("named-outputs/"); });
}

}  // namespace lathe::cli
