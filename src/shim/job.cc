#include "shim/job.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace lathe::shim {
namespace {

/// Says through `to` what failed, and ends this child. An exec that works closes `to` without a word.
[[noreturn]] void give_up(int to, const char* what, const char* name) {
  Text text;
  text.add(what).add(name).add(": ").add(std::strerror(errno));
  write_all(to, text.data, text.size);
  ::_exit(127);
}

bool bind_read_only(const char* from, const char* to) {
  if (::mount(from, to, nullptr, MS_BIND | MS_REC, nullptr) != 0) return false;
  // mount_setattr(2) and what it takes: not every C library has them.
  constexpr std::uint64_t kReadOnly = 1, kNoSetuid = 2, kNoDevices = 4;
  constexpr int kRecursive = 0x8000;
  const struct {
    std::uint64_t set, clear, propagation, user_namespace;
  } change{kReadOnly | kNoSetuid | kNoDevices, 0, 0, 0};
  return ::syscall(SYS_mount_setattr, AT_FDCWD, to, kRecursive, &change, sizeof change) == 0;
}

bool own_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0;
}

void bind_all(const Spec& spec, int report) {
  if (spec.binds.size == 0) return;
  if (!own_mounts()) give_up(report, "cannot make a private mount namespace", "");
  for (std::size_t i = 0; i < spec.binds.size; ++i) {
    Text from;
    from.add(spec.binds.data[i]);
    char* to = std::strchr(from.data, '\n');
    if (to == nullptr) continue;
    *to++ = '\0';
    if (!bind_read_only(from.data, to)) give_up(report, "cannot mount read-only ", from.data);
  }
}

void set_limits(const Spec& spec, int report) {
  for (std::size_t i = 0; i < spec.rlimits.size; ++i) {
    int resource = 0;
    unsigned long long soft = 0;
    unsigned long long hard = 0;
    if (std::sscanf(spec.rlimits.data[i], "%d %llu %llu", &resource, &soft, &hard) != 3) continue;
    const rlimit limit{soft, hard};
    if (::setrlimit(static_cast<decltype(RLIMIT_CORE)>(resource), &limit) != 0)
      give_up(report, "cannot set a resource limit", "");
  }
}

void become_user(const Spec& spec, int report) {
  if (spec.uid < 0) return;
  const auto uid = static_cast<uid_t>(spec.uid);
  const auto gid = static_cast<gid_t>(spec.gid);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0)
    give_up(report, "cannot run as another account", "");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(report, "cannot give up privileges", "");
}

void default_signals() {
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU})
    ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// The group of cgroup v2, of which there is at most one: only those have a cgroup.kill. -1: none.
int v2_group(const Spec& spec) {
  const auto length = spec.kill == nullptr ? 0 : std::strlen(spec.kill) - std::strlen("/cgroup.kill");
  for (std::size_t i = 0; i < spec.groups.size; ++i)
    if (length > 0 && std::strlen(spec.groups.data[i]) == length && std::strncmp(spec.groups.data[i], spec.kill, length) == 0)
      return static_cast<int>(i);
  return -1;
}

/// Joining a group as a process makes the kernel wait for a grace period, about 12 ms. A child that is born in the group
/// (v2) or joins it as a thread (v1) does not wait. Not into a group that was killed once: there kernels kill the newborn.
int fork_into(const Spec& spec, bool again, int& born_in) {
  born_in = again ? -1 : v2_group(spec);
  if (born_in >= 0) {
    const int group = ::open(spec.groups.data[born_in], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    clone_args how{};
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = SIGCHLD;
    how.cgroup = static_cast<__u64>(group);
    const auto child = group < 0 ? -1 : static_cast<int>(::syscall(SYS_clone3, &how, sizeof how));
    if (child != 0 && group >= 0) ::close(group);
    if (child >= 0) return child;
    born_in = -1;  // an older kernel, or forbidden
  }
  return ::fork();
}

void join_groups(const Spec& spec, int born_in, int report) {
  for (std::size_t i = 0; i < spec.groups.size; ++i) {
    if (static_cast<int>(i) == born_in) continue;
    if (write_value(path_in(spec.groups.data[i], "tasks").data, "0")) continue;
    if (!write_value(path_in(spec.groups.data[i], "cgroup.procs").data, "0"))
      give_up(report, "cannot join the cgroup ", spec.groups.data[i]);
  }
}

/// The spec's environment with `variables` after it, which are cut into lines for that.
const char** with(const Spec& spec, const char* variables) {
  List all = spec.env;  // this child's alone from here on
  for (char* line = variables == nullptr ? nullptr : ::strdup(variables); line != nullptr && *line != '\0';) {
    char* end = std::strchr(line, '\n');
    if (end != nullptr) *end++ = '\0';
    all.push(line);
    line = end;
  }
  return all.data;
}

[[noreturn]] void run_child(const Spec& spec, const char* variables, int shim, int born_in, int output,
                            const char* oom_score, int report) {
  ::setpgid(0, 0);
  join_groups(spec, born_in, report);
  write_value("/proc/self/oom_score_adj", oom_score);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (::dup2(null, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0)
    give_up(report, "cannot connect the output", "");
  bind_all(spec, report);
  set_limits(spec, report);
  become_user(spec, report);
  // After the change of user, which clears it. The shim's end must not leave a job that nobody watches.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != shim) ::_exit(127);
  if (::chdir(spec.cwd) != 0) give_up(report, "cannot enter the working folder ", spec.cwd);
  ::umask(027);
  default_signals();
  environ = const_cast<char**>(with(spec, variables));  // execvp looks for the program in this PATH
  ::execvp(spec.args.data[0], const_cast<char**>(spec.args.data));
  give_up(report, "cannot run ", spec.args.data[0]);
}

}  // namespace

int start_job(const Spec& spec, const char* variables, bool again, int output, const char* oom_score, Text& error) {
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) {
    error.add("cannot make a pipe: ").add(std::strerror(errno));
    return -1;
  }
  const int shim = ::getpid();
  int born_in = -1;
  const int job = fork_into(spec, again, born_in);
  if (job == 0) run_child(spec, variables, shim, born_in, output, oom_score, report[1]);
  ::close(report[1]);
  if (job < 0) error.add("cannot fork: ").add(std::strerror(errno));
  ssize_t got = 0;
  char piece[512];
  while (job > 0 && ((got = ::read(report[0], piece, sizeof piece - 1)) > 0 || (got < 0 && errno == EINTR))) {
    if (got < 0) continue;
    piece[got] = '\0';
    error.add(piece);
  }
  ::close(report[0]);
  if (error.size == 0) return job;
  if (job > 0) ::waitpid(job, nullptr, 0);
  return -1;
}

void exec_plainly(char** args) {
  default_signals();
  ::execvp(args[0], args);
}

bool can_mount() {
  return ::geteuid() == 0 && own_mounts() && bind_read_only("/proc", "/proc");
}

}  // namespace lathe::shim
