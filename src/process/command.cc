#include "process/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace lathe::process {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostOutput = std::size_t{256} << 20;

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error("cannot make a pipe"));
  return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

std::vector<char*> kept_environment(const std::vector<std::string_view>& kept) {
  std::vector<char*> out;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (std::any_of(kept.begin(), kept.end(), [&](auto beginning) { return text.starts_with(beginning); }))
      out.push_back(*variable);
  }
  out.push_back(nullptr);
  return out;
}

Result<pid_t> spawn(const std::vector<std::string>& argv, std::vector<char*> environment, const Pipe& in,
                    const Pipe& out, const Pipe& err) {
  std::vector<char*> arguments;
  for (const auto& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, in.read.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);  // it may outlive us, and must hold no lock of ours
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  errno = error;
  if (error != 0) return fail(errno_error("cannot run " + argv[0]));
  return pid;
}

/// Reads what is there; false at the end.
bool read_some(const Fd& from, std::string& into) {
  char piece[65536];
  const auto got = ::read(from.get(), piece, sizeof piece);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (got > 0 && into.size() < kMostOutput) into.append(piece, static_cast<std::size_t>(got));
  return got > 0;
}

}  // namespace

Result<CommandOutput> run_command(const std::vector<std::string>& argv, std::string_view input,
                                  std::chrono::milliseconds limit, const std::vector<std::string_view>& kept) {
  LATHE_TRY(auto in, make_pipe());
  LATHE_TRY(auto out, make_pipe());
  LATHE_TRY(auto err, make_pipe());
  LATHE_TRY(const auto pid, spawn(argv, kept_environment(kept), in, out, err));
  in.read = Fd{};
  out.write = Fd{};
  err.write = Fd{};
  ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

  CommandOutput done;
  const auto deadline = Clock::now() + limit;
  bool late = false;
  while (!late && (out.read || err.read)) {
    if (in.write && input.empty()) in.write = Fd{};
    pollfd on[3] = {{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    late = left <= 0;
    if (late || ::poll(on, 3, static_cast<int>(left)) < 0) continue;
    if (on[0].revents != 0 && !read_some(out.read, done.out)) out.read = Fd{};
    if (on[1].revents != 0 && !read_some(err.read, done.err)) err.read = Fd{};
    if (on[2].revents == 0) continue;
    const auto written = ::write(in.write.get(), input.data(), input.size());
    if (written > 0)
      input.remove_prefix(static_cast<std::size_t>(written));
    else if (errno != EINTR && errno != EAGAIN)
      in.write = Fd{};
  }
  if (late) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) return fail(Code::timeout, argv[0] + " did not end within " + std::to_string(limit.count() / 1000) + " s");
  done.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return done;
}

}  // namespace lathe::process
