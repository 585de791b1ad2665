#include "process/supervised.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/file.h"
#include "base/ids.h"
#include "process/records.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kStartLimit = std::chrono::seconds{30};
constexpr auto kKillLimit = std::chrono::seconds{10};

struct flock write_lock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

bool is_there(const fs::path& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// Whether a shim holds the lock. Nothing when there is no lock: it was never started.
Result<std::optional<bool>> is_locked(const fs::path& folder) {
  const Fd file{::open((folder / "lock").c_str(), O_RDWR | O_CLOEXEC)};
  if (!file && errno == ENOENT && is_there(folder)) return std::nullopt;
  if (!file) return fail(errno_error("cannot open " + (folder / "lock").string()));
  auto lock = write_lock();
  if (::fcntl(file.get(), F_OFD_GETLK, &lock) != 0)
    return fail(errno_error("cannot ask for the lock of " + folder.string()));
  return std::optional<bool>(lock.l_type != F_UNLCK);
}

/// The lock of a folder in which nothing ran yet; the shim inherits it, so that it is held from now on until its end.
Result<Fd> take_lock(const fs::path& folder) {
  Fd file{::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot make " + (folder / "lock").string()));
  auto lock = write_lock();
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0)
    return fail(Code::conflict, "a program is running already in " + folder.string());
  if (is_there(folder / "spec")) return fail(Code::conflict, "a program ran already in " + folder.string());
  return file;
}

/// Not synced: it matters only while this boot lasts.
Result<void> write_spec(const fs::path& path, const std::string& text) {
  const Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot write " + path.string()));
  return write_all(file.get(), text, path.string());
}

/// posix_spawn with nothing inherited but what `fds` names: fds[i] becomes 3 + i.
class Spawner {
 public:
  explicit Spawner(const std::vector<int>& fds) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    for (int fd = 0; fd < 3; ++fd) ::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", O_RDWR, 0);
    int next = 3;
    for (const int fd : fds) ::posix_spawn_file_actions_adddup2(&actions_, fd, next++);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, next);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  ~Spawner() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  Spawner(const Spawner&) = delete;

  Result<pid_t> run(const std::vector<std::string>& arguments) {
    std::vector<char*> argv;
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    char* no_environment[] = {nullptr};
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, argv[0], &actions_, &attributes_, argv.data(), no_environment);
    if (error == 0) return pid;
    errno = error;
    return fail(errno_error("cannot run " + arguments[0] + " (it belongs beside the lathe program)"));
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

int wait_for(pid_t pid) {
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// A copy that no low number of the child's can hit.
Fd raised(int fd) {
  return Fd{::fcntl(fd, F_DUPFD_CLOEXEC, 128)};
}

/// What the shim says until it closes its end (nothing when the program runs), or until it is at its gate: a NUL.
Result<std::string> listen(int fd) {
  const auto deadline = Clock::now() + kStartLimit;
  std::string said;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return fail(Code::timeout, "the program did not start within 30 s");
    pollfd on{fd, POLLIN, 0};
    if (::poll(&on, 1, static_cast<int>(left)) <= 0) continue;
    char buffer[4096];
    const auto got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return said;
    said.append(buffer, static_cast<std::size_t>(got));
    if (said.front() == '\0') return said;
  }
}

tl::unexpected<Error> start_failure(const std::string& said) {
  const auto ends = [&](int error) { return said.ends_with(std::strerror(error)); };
  if (said.starts_with("cannot run ") && ends(ENOENT))
    return fail(Code::not_found, said + "; is it installed, and is its folder in PATH?");
  if (ends(EACCES) || ends(EPERM)) return fail(Code::forbidden, said);
  if (ends(ENOENT) || ends(ENOEXEC) || ends(ENOTDIR)) return fail(Code::invalid, said);
  if (ends(EAGAIN) || ends(ENOMEM) || ends(ENOSPC)) return fail(Code::exhausted, said);
  return fail(Code::internal, said);
}

/// Unique among all servers of the machine, and it tells a person whose group it is.
std::string group_name(const fs::path& folder) {
  std::string name = folder.filename().string().substr(0, 80);
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '_'; }, '_');
  return name + "-" + random_hex(6);
}

/// Without cgroups: the processes that the dead shim's session still holds.
std::vector<int> session_of(const State& shim) {
  std::vector<int> out;
  if (shim.pid <= 1 || !this_boot(shim)) return out;
  // Another process of that number: the session has ended, since the kernel gives no number twice while one lives.
  const auto now = facts_of(shim.pid);
  if (now && now->start_time != shim.start_time) return out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const int pid = std::atoi(entry.path().filename().c_str());
    const auto facts = pid > 1 ? facts_of(pid) : std::nullopt;
    if (facts && facts->session == shim.pid && !facts->dead) out.push_back(pid);
  }
  return out;
}

/// One round; whether anything was left.
bool kill_orphans(const std::vector<std::string>& groups, const std::optional<State>& shim) {
  bool left = false;
  for (const auto& group : groups) {
    if (!group_populated(group)) continue;
    kill_group(group);
    left = true;
  }
  if (!shim) return left;
  for (const int pid : session_of(*shim)) left = ::kill(pid, SIGKILL) == 0 || left;
  return left;
}

Result<void> await_unlocked(const fs::path& folder, Clock::time_point deadline) {
  for (;;) {
    LATHE_TRY(const auto locked, is_locked(folder));
    if (!locked.value_or(false)) return {};
    if (Clock::now() >= deadline) return fail(Code::timeout, "the program in " + folder.string() + " does not end");
    std::this_thread::sleep_for(milliseconds{2});
  }
}

}  // namespace

fs::path shim_program() {
  if (const char* chosen = std::getenv("LATHE_SHIM"); chosen != nullptr && *chosen != '\0') return chosen;
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path() / "lathe-shim";
}

fs::path rank_folder(const fs::path& folder, std::size_t number) {
  return number == 0 ? folder : folder / ("rank-" + std::to_string(number));
}

namespace {

/// A shim that has begun, and what it will say.
struct Begun {
  Fd gate;  ///< empty without a gate
  Fd ready;
};

Result<Begun> begin(const fs::path& folder, const Spec& spec, const Cgroups& groups, const fs::path& gate) {
  const auto name = group_name(folder);
  LATHE_TRY(const auto text, print_spec(spec, groups, name, gate));
  LATHE_TRY(auto lock, take_lock(folder));
  if (!spec.denied_devices.empty() && groups.devices.empty() && groups.denies_devices) {
    // The shim finds its group made, with what is denied in it.
    const auto group = groups.v2 + "/" + name;
    if (::mkdir(group.c_str(), 0755) != 0) return fail(errno_error("cannot make " + group));
    LATHE_CHECK(deny_devices(group, spec.denied_devices));
  }
  LATHE_CHECK(write_spec(folder / "spec", text));
  int ends[2];
  int gate_ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error("cannot make a pipe"));
  Begun out{Fd{}, Fd{ends[0]}};
  const Fd said{ends[1]};
  if (!gate.empty() && ::pipe2(gate_ends, O_CLOEXEC) != 0) return fail(errno_error("cannot make a pipe"));
  out.gate = Fd{gate_ends[1]};
  const Fd gate_end{gate_ends[0]};

  std::vector<int> passed = {said.get(), lock.get()};
  if (gate_end) passed.push_back(gate_end.get());
  passed.insert(passed.end(), spec.kept_open.begin(), spec.kept_open.end());
  std::vector<Fd> high;
  std::vector<int> numbers;
  for (const int fd : passed) {
    high.push_back(raised(fd));
    if (!high.back()) return fail(errno_error("cannot start " + spec.argv[0]));
    numbers.push_back(high.back().get());
  }
  Spawner spawner(numbers);
  LATHE_TRY(const auto pid,
            spawner.run({shim_program().string(), "run", folder.string(), "3", "4", gate_end ? "5" : "-1"}));
  if (wait_for(pid) != 0) return fail(Code::internal, "lathe-shim failed to start");
  return out;
}

/// Until the program runs, or its shim is at the gate.
Result<void> await_ready(const fs::path& folder, int ready, bool gate) {
  const auto heard = listen(ready);
  if (!heard) {
    (void)kill_now(folder);
    return fail(heard.error());
  }
  if (gate && !heard->empty() && heard->front() == '\0') return {};
  if (!heard->empty()) return start_failure(*heard);
  if (!is_there(folder / "state.json")) return fail(Code::unavailable, "lathe-shim ended before the program ran");
  return {};
}

}  // namespace

Result<void> start(const fs::path& folder_given, const Spec& spec, const Cgroups& groups) {
  const auto folder = fs::absolute(folder_given);
  LATHE_TRY(const auto begun, begin(folder, spec, groups, {}));
  return await_ready(folder, begun.ready.get(), false);
}

Result<AtGate> start_at_gate(const fs::path& folder_given, const Spec& spec, const Cgroups& groups,
                             const fs::path& gate) {
  const auto folder = fs::absolute(folder_given);
  LATHE_TRY(auto begun, begin(folder, spec, groups, fs::absolute(gate)));
  LATHE_CHECK(await_ready(folder, begun.ready.get(), true));
  return AtGate(folder, std::move(begun.gate), std::move(begun.ready));
}

Result<void> AtGate::open() {
  gate_ = Fd{};
  return await_ready(folder_, ready_.get(), false);
}

Result<Observation> observe(const fs::path& folder) {
  Observation out;
  LATHE_TRY(const auto locked, is_locked(folder));
  if (!locked) return out;
  // The order matters: a shim writes exit.json before it frees the lock, so a free lock without one is final.
  LATHE_TRY(const auto state, read_state(folder));
  if (state) out.job_pid = state->job_pid;
  if (*locked) {
    out.status = Status::running;
    if (state) out.shim_pid = state->pid;
    return out;
  }
  LATHE_TRY(out.end, read_end(folder));
  // The first that a shim does is to make room for its exit record; before that nothing of the program can have run.
  if (out.end)
    out.status = Status::exited;
  else
    out.status = state || is_there(folder / "exit.json.new") ? Status::lost : Status::never_started;
  return out;
}

Result<void> request_stop(const fs::path& folder, std::optional<milliseconds> grace) {
  LATHE_TRY(const auto locked, is_locked(folder));
  if (!locked.value_or(false)) return {};
  // On a full disk the signal alone says it, with the grace of the spec: a program that filled the disk must be stoppable.
  if (auto written = write_file(folder / "stop", grace ? std::to_string(grace->count()) : ""); !written && written.error().code != Code::exhausted)
    return fail(written.error());
  // Without a state yet, the shim reads the file by itself right after writing the state.
  LATHE_TRY(const auto state, read_state(folder));
  if (!state) return {};
  const auto shim = open_shim(*state);
  if (shim && ::syscall(SYS_pidfd_send_signal, shim.get(), SIGTERM, nullptr, 0) != 0 && errno != ESRCH)
    return fail(errno_error("cannot signal the lathe-shim of " + folder.string()));
  return {};
}

Result<void> kill_now(const fs::path& folder) {
  const auto deadline = Clock::now() + kKillLimit;
  LATHE_CHECK(request_stop(folder, milliseconds{0}));
  LATHE_CHECK(await_unlocked(folder, deadline));
  const auto groups = groups_of(folder);
  LATHE_TRY(const auto state, read_state(folder));
  LATHE_TRY(const auto end, read_end(folder));
  if (end) return {};
  while (kill_orphans(groups, state)) {
    if (Clock::now() >= deadline) return fail(Code::timeout, "processes in " + folder.string() + " do not die");
    std::this_thread::sleep_for(milliseconds{2});
  }
  return {};
}

Result<void> cleanup(const fs::path& folder) {
  LATHE_TRY(const auto locked, is_locked(folder));
  if (locked.value_or(false)) return fail(Code::conflict, "the program in " + folder.string() + " is running");
  for (const auto& group : groups_of(folder))
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT) return fail(errno_error("cannot remove the cgroup " + group));
  return {};
}

bool can_bind() {
  static const bool works = [] {
    Spawner spawner({});
    const auto pid = spawner.run({shim_program().string(), "probe-mounts"});
    return pid && wait_for(*pid) == 0;
  }();
  return works;
}

}  // namespace lathe::process
