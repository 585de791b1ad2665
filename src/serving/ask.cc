#include "serving/ask.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/file.h"

namespace lathe::serving {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  Fd out;  ///< to read from
  Fd in;
};

Result<Pipe> open_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error("cannot make a pipe"));
  return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

/// A lathe-infer that answers one question; it is gone when this object is.
class Oracle {
 public:
  Oracle() = default;
  Oracle(const Oracle&) = delete;
  ~Oracle() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    reap();
  }

  Result<void> start(const std::filesystem::path& program) {
    LATHE_TRY(auto question, open_pipe());
    LATHE_TRY(auto answer, open_pipe());
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, question.out.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answer.in.get(), STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::string words[] = {program.string(), "--answer"};
    char* arguments[] = {words[0].data(), words[1].data(), nullptr};
    const int error = ::posix_spawn(&pid_, arguments[0], &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      pid_ = -1;
      return fail(Code::unavailable, "cannot run " + words[0] + ": " + std::strerror(error));
    }
    to_ = std::move(question.in);
    from_ = std::move(answer.out);
    return {};
  }

  /// It reads all before it says anything, so that neither side waits for the other's reader.
  Result<std::string> ask(const std::string& question, std::chrono::seconds limit) {
    const auto deadline = Clock::now() + limit;
    const auto sent = write_all(to_.get(), question, "lathe-infer's question");
    to_ = Fd();
    std::string answer;
    while (sent) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd waiting{from_.get(), POLLIN, 0};
      if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) == 0)
        return fail(Code::timeout, "the models did not answer within " + std::to_string(limit.count()) + " s");
      char piece[1 << 16];
      const auto got = ::read(from_.get(), piece, sizeof piece);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      answer.append(piece, static_cast<std::size_t>(got));
    }
    const int status = reap();
    if (WIFSIGNALED(status))
      return fail(Code::invalid,
                  std::string("a model ended the program that ran it (") + strsignal(WTERMSIG(status)) + ")");
    return answer;
  }

 private:
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
    pid_ = -1;
    return status;
  }

  pid_t pid_ = -1;
  Fd to_;
  Fd from_;
};

std::string question_of(const std::vector<Spec>& models, const std::optional<Request>& request) {
  json::Array deployments;
  for (const auto& spec : models) deployments.push_back(desired_deployment(std::to_string(deployments.size()), spec));
  json::Array endpoints;
  endpoints.push_back(json::Object{{"name", "models"}, {"deployments", std::move(deployments)}});
  json::Object out{{"generation", 1}, {"endpoints", std::move(endpoints)}};
  if (request)
    out["request"] = json::Object{{"body", request->body},
                                  {"content_type", request->content_type},
                                  {"open_inference", is_open_inference(request->body)}};
  return json::print(out);
}

}  // namespace

Result<std::vector<Answer>> ask_models(const std::filesystem::path& program, const std::vector<Spec>& models,
                                       const std::optional<Request>& request, std::chrono::seconds limit) {
  Oracle oracle;
  LATHE_CHECK(oracle.start(program));
  LATHE_TRY(const auto text, oracle.ask(question_of(models, request), limit));
  LATHE_TRY(const auto said, json::parse_object(text));
  if (const auto error = json::get_string(said, "error"); error && *error) return fail(Code::internal, **error);
  LATHE_TRY(const auto* list, json::get_array(said, "answers"));
  std::vector<Answer> out;
  if (list != nullptr)
    for (const auto& each : *list) {
      Answer answer;
      LATHE_TRY(const auto status, json::get_int(each.as_object(), "status"));
      LATHE_TRY(answer.body, json::need_string(each.as_object(), "body"));
      answer.status = static_cast<int>(status.value_or(0));
      out.push_back(std::move(answer));
    }
  if (out.size() != models.size()) return fail(Code::internal, "lathe-infer did not answer for each model");
  return out;
}

}  // namespace lathe::serving
