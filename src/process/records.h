#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "process/supervised.h"

/// The files that the server and the shim exchange (src/shim/README.md).
namespace lathe::process {

constexpr int kShimProtocol = 1;

/// FOLDER/state.json.
struct State {
  int pid = 0;
  std::int64_t start_time = 0;
  std::string boot_id;
  int job_pid = 0;
};

/// The text of FOLDER/spec. `name` becomes the name of its cgroups; `gate` may be empty.
Result<std::string> print_spec(const Spec& spec, const Cgroups& groups, const std::string& name,
                               const std::filesystem::path& gate);

/// The cgroup folders that FOLDER/spec names; none when it cannot be read.
std::vector<std::string> groups_of(const std::filesystem::path& folder);

Result<std::optional<State>> read_state(const std::filesystem::path& folder);
Result<std::optional<End>> read_end(const std::filesystem::path& folder);

/// From /proc/PID/stat. With the boot's id, the number and the start time name a process for ever.
struct ProcessFacts {
  bool dead = false;  ///< only waits to be reaped
  int session = 0;
  std::int64_t start_time = 0;  ///< in ticks since the boot
};

/// Nothing when there is no such process.
std::optional<ProcessFacts> facts_of(int pid);

/// Whether the machine has not been started again since.
bool this_boot(const State& state);

/// A pidfd of the shim that `state` names, or an empty one when that process is gone (or, with errno EMFILE or ENFILE,
/// no descriptor is left).
Fd open_shim(const State& state);

}  // namespace lathe::process
