#include "infer/try_model.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/file.h"
#include "base/log.h"

namespace lathe::infer {
namespace {

constexpr std::chrono::minutes kLimit{10};

/// Starts this program on the model; what it prints is dropped, and it goes by SIGTERM.
Result<pid_t> start(const std::string& format, const std::string& file) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::string words[] = {"lathe-infer", std::string(kTryFlag), format, file};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(Code::unavailable, std::string("cannot start a process to try the model in: ") + std::strerror(error));
  return pid;
}

}  // namespace

Result<void> try_apart(const std::string& format, const std::filesystem::path& file) {
  LATHE_TRY(const auto pid, start(format, file.string()));
  const Fd ended{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  pollfd waiting{ended.get(), POLLIN, 0};
  const auto limit = static_cast<int>(std::chrono::milliseconds(kLimit).count());
  const bool late = ended && ::poll(&waiting, 1, limit) == 0;
  if (late) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (late) return fail(Code::invalid, "loading the model took longer than ten minutes");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string how = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit status " + std::to_string(WEXITSTATUS(status));
  log::warn("a model's file crashes its library file={} how={}", file.string(), how);
  return fail(Code::invalid, "the model's file " + file.filename().string() + " is damaged: the library that reads it crashed (" + how +
                                 "); save the model again and register it");
}

}  // namespace lathe::infer
