#include "shim/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "shim/group.h"
#include "shim/job.h"
#include "shim/log.h"
#include "shim/spec.h"
#include "shim/text.h"

namespace lathe::shim {
namespace {

constexpr int kMostPassed = 64;

enum class Why {
  nothing,
  timeout,
  stopped,
  over  ///< one process failed, or those that are waited for have ended
};

/// One process of the command and what it prints.
struct Rank {
  const char* variables = nullptr;
  bool helper = false;  ///< nobody waits for its end
  int pid = 0;          ///< 0: it does not run
  int output = -1;
  int status = 0;
  Log log;

  /// At most `pieces` pieces, so that a job that writes without end can still be stopped.
  void pump(int pieces) {
    static char buffer[1 << 16];
    while (output >= 0 && pieces-- > 0) {
      const auto got = ::read(output, buffer, sizeof buffer);
      if (got > 0) {
        log.write(buffer, static_cast<std::size_t>(got));
      } else if (got == 0) {
        ::close(output);
        output = -1;
      } else if (errno != EINTR) {
        return;
      }
    }
  }

  bool failed() const { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }
};

/// One supervised command, from the spec to exit.json.
class Supervisor {
 public:
  Supervisor(const char* folder, int ready, int gate) : folder_(folder), ready_(ready), gate_(gate) {}

  int run() {
    started_us_ = wall_us();
    const char* broken = nullptr;
    protect();
    reserve_exit();
    if (!read_spec(folder_, spec_, broken)) return refuse(broken);
    if (!make_ranks()) return refuse("out of memory");
    make_groups(spec_, note_);
    if (!pass_gate()) return refuse("the server went away before all nodes were ready");
    if (!spawn_all()) return abandon(error_.data);
    if (spec_.limit_ms > 0) limit_at_ms_ = monotonic_ms() + spec_.limit_ms;
    user_code_us_ = wall_us();
    if (!write_state()) {
      error_.add("cannot write state.json: ").add(std::strerror(errno));
      return abandon(error_.data);  // what nobody could find again must not run
    }
    ::close(ready_);
    read_stop();  // written before the state was there
    watch();
    while (may_restart() && back_off()) {
      if (spawn(ranks_[0])) {
        write_state();
        watch();
      } else {
        ranks_[0].log.say(error_.data);
        error_.clear();
        ranks_[0].status = 127 << 8;  // as wait(2) says it of exit(127)
        decided_ = 0;
      }
    }
    finish(nullptr, "");
    return 0;
  }

 private:
  /// The shim outlives what happens around it: hang-ups, a full memory, the end of the job's parents.
  void protect() {
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t waited;
    ::sigemptyset(&waited);
    ::sigaddset(&waited, SIGTERM);
    ::sigaddset(&waited, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &waited, nullptr);
    signals_ = ::signalfd(-1, &waited, SFD_CLOEXEC | SFD_NONBLOCK);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!read_text("/proc/self/oom_score_adj", oom_score_, sizeof oom_score_) || oom_score_[0] == '\0')
      std::strcpy(oom_score_, "0");
    write_value("/proc/self/oom_score_adj", "-1000");
  }

  /// Room for the exit record, so that a disk that is full later cannot lose it.
  void reserve_exit() {
    exit_ = ::open(path_in(folder_, "exit.json.new").data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (exit_ >= 0) ::posix_fallocate(exit_, 0, sizeof(Text::data));
  }

  /// One for each `rank` of the spec, the first with the folder's own log and the others with one in rank-N.
  bool make_ranks() {
    count_ = spec_.ranks.size > 0 ? static_cast<int>(spec_.ranks.size) : 1;
    ranks_ = static_cast<Rank*>(std::calloc(static_cast<std::size_t>(count_), sizeof(Rank)));
    on_ = static_cast<pollfd*>(std::calloc(static_cast<std::size_t>(count_) + 1, sizeof(pollfd)));
    if (ranks_ == nullptr || on_ == nullptr) return false;
    for (int i = 0; i < count_; ++i) {
      auto& rank = *new (&ranks_[i]) Rank;
      if (spec_.ranks.size > 0) {
        const char* text = spec_.ranks.data[i];
        rank.helper = std::strncmp(text, "helper", 6) == 0;
        rank.variables = std::strchr(text, '\n');
        if (rank.variables != nullptr) ++rank.variables;
      }
      if (i == 0) {
        rank.log.open(folder_, spec_.log_bytes / count_);
        continue;
      }
      Text name;
      name.add("rank-").add(std::int64_t{i});
      const char* folder = ::strdup(path_in(folder_, name.data).data);
      if (folder == nullptr) return false;
      ::mkdir(folder, 0700);
      rank.log.open(folder, spec_.log_bytes / count_);
    }
    return true;
  }

  /// Waits until the server closes its end, which says nothing in itself: whether all nodes are ready says a file.
  bool pass_gate() {
    if (spec_.gate == nullptr) return true;
    write_all(ready_, "", 1);  // a NUL: at the gate
    char none = 0;
    ssize_t got = 0;
    do got = ::read(gate_, &none, 1);
    while (got > 0 || (got < 0 && errno == EINTR));
    return ::access(spec_.gate, F_OK) == 0;
  }

  bool spawn_all() {
    for (int i = 0; i < count_; ++i)
      if (!spawn(ranks_[i])) return false;
    return true;
  }

  bool spawn(Rank& rank) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) {
      error_.add("cannot make a pipe: ").add(std::strerror(errno));
      return false;
    }
    rank.output = pipe[0];
    ::fcntl(rank.output, F_SETFL, O_NONBLOCK);
    ::fcntl(rank.output, F_SETPIPE_SZ, 1 << 18);  // a burst of output does not make the job wait; harmless when refused
    rank.pid = start_job(spec_, rank.variables, restarts_ > 0, pipe[1], oom_score_, error_);
    ::close(pipe[1]);
    spawned_ms_ = monotonic_ms();
    if (rank.pid < 0) rank.pid = 0;
    return rank.pid > 0;
  }

  int abandon(const char* sentence) {
    for (int i = 0; i < count_; ++i)
      if (ranks_[i].pid > 0) ::kill(-ranks_[i].pid, SIGKILL);
    kill_all(spec_, 0);
    user_code_us_ = 0;
    return refuse(sentence);
  }

  bool write_state() {
    char boot[64];
    read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[std::strcspn(boot, "\n")] = '\0';
    Text text;
    text.add("{\"version\":").add(kProtocol).add(",\"pid\":").add(::getpid()).add(",\"starttime\":");
    text.add(start_time(::getpid()))
        .add(",\"boot_id\":")
        .add_json(boot)
        .add(",\"job_pid\":")
        .add(std::int64_t{ranks_[0].pid});
    text.add(",\"started_us\":").add(started_us_).add(",\"restarts\":").add(restarts_).add("}\n");
    const auto beside = path_in(folder_, "state.json.new");
    const int fd = ::open(beside.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const bool written = fd >= 0 && write_all(fd, text.data, text.size);
    const int error = errno;
    if (fd >= 0) ::close(fd);
    errno = error;
    return written && ::rename(beside.data, path_in(folder_, "state.json").data) == 0;
  }

  /// Until the command has ended and nothing of it is left: its logs, its time limit, a stop.
  void watch() {
    for (int left = count_; left > 0;) {
      for (int i = 0; i < count_; ++i) on_[i] = {ranks_[i].output, POLLIN, 0};
      on_[count_] = {signals_, POLLIN, 0};
      ::poll(on_, static_cast<nfds_t>(count_) + 1, wait_ms());
      for (int i = 0; i < count_; ++i)
        if (on_[i].revents != 0) ranks_[i].pump(16);
      if (on_[count_].revents != 0 && read_signals()) read_stop_or_default();
      left = reap_ranks();
      reap_strays();
      keep_time();
    }
    kill_all(spec_, 0);
    for (int i = 0; i < count_; ++i) {
      ranks_[i].pump(64);  // more than a pipe holds
      if (ranks_[i].output >= 0) ::close(ranks_[i].output);
      ranks_[i].output = -1;
    }
  }

  /// How many processes are left. The first that fails ends the others, and so does the end of all that are waited for.
  int reap_ranks() {
    int left = 0;
    int waited_for = 0;
    for (int i = 0; i < count_; ++i) {
      auto& rank = ranks_[i];
      siginfo_t ended{};
      if (rank.pid == 0) continue;
      // A dead job stays in the process table until its group is killed, so that its number cannot be another's.
      if (::waitid(P_PID, static_cast<id_t>(rank.pid), &ended, WEXITED | WNOWAIT | WNOHANG) != 0 ||
          ended.si_pid != rank.pid) {
        ++left;
        waited_for += rank.helper ? 0 : 1;
        continue;
      }
      ::kill(-rank.pid, SIGKILL);
      ::waitpid(rank.pid, &rank.status, 0);
      rank.pid = 0;
      if (!rank.failed() || decided_ >= 0 || why_ != Why::nothing) continue;
      decided_ = i;
      decided_us_ = wall_us();
    }
    if (left > 0 && why_ == Why::nothing && (decided_ >= 0 || waited_for == 0)) begin_end(Why::over, spec_.grace_ms);
    return left;
  }

  /// Grandchildren that became ours. The job's own processes are reaped in `reap_ranks`.
  void reap_strays() {
    siginfo_t ended{};
    while (::waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT | WNOHANG) == 0 && ended.si_pid != 0 &&
           !is_rank(ended.si_pid)) {
      ::waitpid(ended.si_pid, nullptr, 0);
      ended.si_pid = 0;
    }
  }

  bool is_rank(int pid) const {
    for (int i = 0; i < count_; ++i)
      if (ranks_[i].pid == pid) return true;
    return false;
  }

  bool runs() const {
    for (int i = 0; i < count_; ++i)
      if (ranks_[i].pid > 0) return true;
    return false;
  }

  void signal_ranks(int signal) {
    for (int i = 0; i < count_; ++i)
      if (ranks_[i].pid > 0) ::kill(-ranks_[i].pid, signal);
    signal_all(spec_, 0, signal);
  }

  /// Whether a SIGTERM was among them.
  bool read_signals() {
    bool asked = false;
    signalfd_siginfo info{};
    while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      asked |= info.ssi_signo == SIGTERM;
    return asked;
  }

  bool read_stop() {
    char text[32];
    if (!read_text(path_in(folder_, "stop").data, text, sizeof text)) return false;
    begin_end(Why::stopped, text[0] == '\0' ? spec_.grace_ms : std::atoll(text));
    return true;
  }

  void read_stop_or_default() {
    if (!read_stop()) begin_end(Why::stopped, spec_.grace_ms);
  }

  /// TERM now and KILL after the grace. A second request can only shorten the grace.
  void begin_end(Why why, std::int64_t grace_ms) {
    const auto at = monotonic_ms() + grace_ms;
    if (why_ == Why::nothing) {
      why_ = why;
      kill_at_ms_ = at;
      if (runs() && grace_ms > 0) {
        signal_ranks(SIGTERM);
        signal_ranks(SIGCONT);
      }
    } else if (at < kill_at_ms_) {
      kill_at_ms_ = at;
    }
    keep_time();
  }

  void keep_time() {
    const auto now = monotonic_ms();
    if (why_ == Why::nothing && limit_at_ms_ > 0 && now >= limit_at_ms_) {
      ranks_[0].log.say("the time limit is over: stopping the job");
      begin_end(Why::timeout, spec_.grace_ms);
      return;
    }
    if (why_ == Why::nothing || now < kill_at_ms_ || !runs()) return;
    if (spec_.kill == nullptr || !write_value(spec_.kill, "1")) signal_ranks(SIGKILL);
    for (int i = 0; i < count_; ++i)
      if (ranks_[i].pid > 0) ::kill(ranks_[i].pid, SIGKILL);
    kill_at_ms_ = now + 200;  // and again: it may have been forking
  }

  int wait_ms() const {
    const auto until = why_ != Why::nothing ? kill_at_ms_ : limit_at_ms_;
    if (until == 0) return -1;
    const auto left = until - monotonic_ms();
    return left < 0 ? 0 : left > 3'600'000 ? 3'600'000 : static_cast<int>(left);
  }

  bool may_restart() {
    if (spec_.restarts <= 0 || why_ != Why::nothing || decided_ < 0) return false;
    decided_ = -1;
    const auto now = monotonic_ms();
    if (now - minute_began_ms_ > 60'000) {
      minute_began_ms_ = now;
      in_minute_ = 0;
    }
    if (++in_minute_ > spec_.restarts) {
      ranks_[0].log.say("it ended too often within a minute: not started again");
      return false;
    }
    return true;
  }

  /// Waits before the next start, twice as long each time up to 10 s; false when a stop came meanwhile.
  bool back_off() {
    if (monotonic_ms() - spawned_ms_ > 60'000) pause_ms_ = 100;
    const auto until = monotonic_ms() + pause_ms_;
    pause_ms_ = pause_ms_ * 2 > 10'000 ? 10'000 : pause_ms_ * 2;
    for (auto left = until - monotonic_ms(); left > 0 && why_ == Why::nothing; left = until - monotonic_ms()) {
      pollfd on{signals_, POLLIN, 0};
      ::poll(&on, 1, static_cast<int>(left));
      if (on.revents != 0 && read_signals()) read_stop_or_default();
    }
    if (why_ != Why::nothing) return false;
    ++restarts_;
    ranks_[0].log.say("it ended unexpectedly: starting it again");
    return true;
  }

  int refuse(const char* sentence) {
    write_all(ready_, sentence, std::strlen(sentence));
    finish("start_failed", sentence);
    return 1;
  }

  void finish(const char* reason, const char* error) {
    const int status = ranks_ == nullptr ? 0 : ranks_[decided_ < 0 ? 0 : decided_].status;
    const bool killed = WIFSIGNALED(status);
    if (reason == nullptr) {
      reason = why_ == Why::timeout ? "timeout" : why_ == Why::stopped ? "stopped" : killed ? "signaled" : "exited";
    }
    rusage used{};
    ::getrusage(RUSAGE_CHILDREN, &used);
    const std::int64_t counted = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * std::int64_t{1'000'000} +
                                 used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    const bool oom = value_in(spec_.oom, "oom_kill", 0) > 0;  // before the group is gone
    const auto refused = value_in(spec_.pids, "max", 0);
    Text text;
    text.add("{\"version\":").add(kProtocol).add(",\"reason\":").add_json(reason);
    if (user_code_us_ > 0)
      text.add(killed ? ",\"signal\":" : ",\"code\":").add(killed ? WTERMSIG(status) : WEXITSTATUS(status));
    if (count_ > 1 && decided_ >= 0) text.add(",\"rank\":").add(decided_);
    if (error[0] != '\0') text.add(",\"error\":").add_json(error);
    text.add(",\"oom_killed\":").add(oom ? "true" : "false").add(",\"pids_refused\":").add(refused);
    text.add(",\"cgroup\":").add_json(note_.data);
    text.add(",\"started_us\":").add(started_us_);
    if (user_code_us_ > 0) text.add(",\"user_code_us\":").add(user_code_us_);
    if (decided_us_ > 0) text.add(",\"decided_us\":").add(decided_us_);
    text.add(",\"ended_us\":").add(wall_us()).add(",\"cpu_us\":").add(value_in(spec_.usage, "usage_usec", counted));
    text.add(",\"max_rss_bytes\":").add(std::int64_t{used.ru_maxrss} * 1024).add(",\"restarts\":").add(restarts_);
    std::int64_t lost = 0;
    for (int i = 0; ranks_ != nullptr && i < count_; ++i) {
      lost += ranks_[i].log.lost_bytes();
      ranks_[i].log.sync();
    }
    text.add(",\"log_lost_bytes\":").add(lost).add("}\n");
    write_exit(text);
    remove_groups(spec_);
  }

  void write_exit(const Text& text) {
    const auto beside = path_in(folder_, "exit.json.new");
    if (exit_ < 0) exit_ = ::open(beside.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const bool written =
        exit_ >= 0 && write_all(exit_, text.data, text.size) && ::ftruncate(exit_, static_cast<off_t>(text.size)) == 0;
    if (!written) return;  // reported as lost
    // Named before it is synced, so that a file system with a journal writes it once, not for the file and again for its
    // name. After a power failure in between the record may be empty: as good as none.
    ::rename(beside.data, path_in(folder_, "exit.json").data);
    ::fsync(exit_);
    const int folder = ::open(folder_, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ::fsync(folder);
  }

  const char* folder_;
  int ready_;  ///< closed once the program runs; a sentence instead when it cannot
  int gate_;   ///< closed by the server; -1: no gate
  Spec spec_;
  Rank* ranks_ = nullptr;
  pollfd* on_ = nullptr;
  int count_ = 0;
  int decided_ = -1;  ///< the process that failed first
  std::int64_t decided_us_ = 0;
  Text note_, error_;
  char oom_score_[16] = "0";
  int signals_ = -1;
  int exit_ = -1;
  Why why_ = Why::nothing;
  std::int64_t started_us_ = 0, user_code_us_ = 0, spawned_ms_ = 0;
  std::int64_t limit_at_ms_ = 0, kill_at_ms_ = 0;  ///< monotonic
  std::int64_t restarts_ = 0, in_minute_ = 0, minute_began_ms_ = 0, pause_ms_ = 100;
};

/// Takes FOLDER/lock unless the server passed it on; held until this process is gone.
bool hold_lock(const char* folder, int given) {
  if (given >= 0) return ::fcntl(given, F_SETFD, FD_CLOEXEC) == 0;
  const int fd = ::open(path_in(folder, "lock").data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fd >= 0 && ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

}  // namespace

int run(const char* folder, int ready, int lock, int gate) {
  ::umask(077);
  if (!hold_lock(folder, lock)) {
    std::fprintf(stderr, "lathe-shim: %s is in use, or its file \"lock\" cannot be made\n", folder);
    return 2;
  }
  if (ready >= 0) {
    // What else the server passed on is kept open until the end, and none of it is for the job.
    for (int fd = 3; fd < kMostPassed; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    // A process of its own, and the caller has a child less to wait for.
    const int child = ::fork();
    if (child != 0) return child < 0 ? 2 : 0;
    ::setsid();
  } else {
    ready = ::dup(2);
    ::fcntl(ready, F_SETFD, FD_CLOEXEC);
  }
  if (::chdir("/") != 0) return 2;
  static Supervisor supervisor(folder, ready, gate);
  return supervisor.run();
}

}  // namespace lathe::shim
