#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/time.h"
#include "process/cgroup.h"
#include "process/devices.h"

/// Programs that outlive this server: each runs under its own lathe-shim, in a folder that says everything about it
/// (src/shim/README.md). All functions are thread-safe and block shortly: call them on the worker pool.
namespace lathe::process {

/// What is allowed to the program and all that it starts. Zero: no limit.
struct Limits {
  double cores = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t pids = 0;
};

/// The account to run as; supplementary groups are dropped and privileges cannot be won back.
struct Account {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

/// A folder or file that the program sees read-only at `target`, which must exist. Needs `can_bind()`.
struct Bind {
  std::filesystem::path source;
  std::filesystem::path target;
};

/// As setrlimit(2): `resource` is RLIMIT_NOFILE, ...
struct ResourceLimit {
  int resource = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

/// One of several processes that run the same command.
struct Rank {
  std::vector<std::pair<std::string, std::string>> env;  ///< what only it has; no line feeds
  bool helper = false;                                   ///< ended when the others have; nobody waits for it
};

struct Spec {
  std::vector<std::string> argv;                         ///< argv[0] is looked for in the PATH of `env`
  std::vector<std::pair<std::string, std::string>> env;  ///< all of it: nothing is inherited
  std::filesystem::path cwd = "/";
  Limits limits;
  std::optional<Account> account;
  std::vector<Bind> binds;
  std::vector<ResourceLimit> resource_limits;
  std::vector<Rank> ranks;  ///< none: one process. The first that fails ends the others
  std::vector<Device> denied_devices;  ///< what it cannot open, where the groups `can_deny_devices`
  /// What is kept open as long as it runs: a lease that is given back with the shim's end.
  std::vector<int> kept_open;
  std::uint64_t log_bytes = std::uint64_t{64} << 20;  ///< of the log on disk, in all; the earliest part goes first
  std::chrono::milliseconds time_limit{0};            ///< zero: none
  std::chrono::milliseconds grace{10'000};            ///< between TERM and KILL
  int restarts_per_minute =
      0;  ///< > 0: a service, started again when it fails (not when it exits with 0 or is stopped)
};

/// Starts `spec` in `folder`, which must exist and belong to this run alone: a new attempt takes a new folder.
/// Returns once the program runs. `groups` as `probe()` gave it.
/// Errors: `conflict` when something runs or ran in the folder; `not_found`, `forbidden`, `invalid` or `internal` with
/// a sentence when it cannot be started (then `observe` says exited, start_failed, too).
Result<void> start(const std::filesystem::path& folder, const Spec& spec, const Cgroups& groups);

/// A program whose shim has made all ready and waits: programs on several nodes start together or not at all.
class AtGate {
 public:
  AtGate(AtGate&&) = default;
  /// Lets it run, if the gate's file is there, and returns once it runs. Errors: as for `start`.
  Result<void> open();

 private:
  friend Result<AtGate> start_at_gate(const std::filesystem::path&, const Spec&, const Cgroups&,
                                      const std::filesystem::path&);
  AtGate(std::filesystem::path folder, Fd gate, Fd ready)
      : folder_(std::move(folder)), gate_(std::move(gate)), ready_(std::move(ready)) {}
  std::filesystem::path folder_;
  Fd gate_;
  Fd ready_;
};

/// As `start`, up to the gate. When the answer goes, or this server is killed, the program runs if the file `gate` is
/// there by then, and ends as start_failed if it is not. Errors: as for `start`.
Result<AtGate> start_at_gate(const std::filesystem::path& folder, const Spec& spec, const Cgroups& groups,
                             const std::filesystem::path& gate);

/// Where the program's process `number` (of Spec::ranks) of the run in `folder` has its log.
std::filesystem::path rank_folder(const std::filesystem::path& folder, std::size_t number);

enum class Status {
  running,
  exited,  ///< `end` tells how
  lost,    ///< the shim was killed or the machine went down; what is left of the program: `kill_now`
  never_started
};

enum class Reason { exited, signaled, timeout, stopped, start_failed };

/// How it ended.
struct End {
  Reason reason = Reason::exited;
  std::optional<int> code;
  std::optional<int> signal;
  std::optional<std::size_t> rank;  ///< which of several processes decided
  std::string error;  ///< a sentence, for start_failed
  bool oom_killed = false;
  std::int64_t memory_limit_bytes = 0;  ///< 0: none
  std::int64_t pids_refused = 0;        ///< how often the kernel refused a new process: there were too many
  std::string cgroup;  ///< what was limited, and what could not be, in words
  Time started{};
  std::optional<Time> user_code;  ///< when the program was running
  Time decided{};                 ///< when its first process failed, else `ended`
  Time ended{};
  std::int64_t cpu_us = 0;
  std::int64_t max_rss_bytes = 0;  ///< of its largest process
  std::int64_t restarts = 0;
  std::int64_t log_lost_bytes = 0;  ///< of output that a full disk refused
};

struct Observation {
  Status status = Status::never_started;
  int shim_pid = 0;  ///< while running; 0 in the first moments
  int job_pid = 0;   ///< the program's first process
  std::optional<End> end;
};

/// What is so now, from the lock first and the exit record second: never from a process number.
/// Errors: `not_found` without the folder, `internal` for a record that cannot be read.
Result<Observation> observe(const std::filesystem::path& folder);

/// Asks for the end: TERM to all of it, KILL after `grace` (the spec's when absent). Returns at once; the wish is kept
/// in the folder. Nothing happens when it has ended. A second call can only shorten the grace.
Result<void> request_stop(const std::filesystem::path& folder, std::optional<std::chrono::milliseconds> grace = {});

/// Kills all of it, also what a killed shim left behind, and returns when it is gone.
/// Errors: `timeout` when processes remain after 10 s (stuck in the kernel).
Result<void> kill_now(const std::filesystem::path& folder);

/// Removes the cgroups of a run that has ended (its shim did unless it was killed). The folder stays.
Result<void> cleanup(const std::filesystem::path& folder);

/// Whether read-only binds in a private mount namespace work here (as root, and where mounting is not forbidden). Asks
/// once. Without it a caller makes symbolic links, and says so.
bool can_bind();

/// The lathe-shim beside this program, or $LATHE_SHIM.
std::filesystem::path shim_program();

}  // namespace lathe::process
