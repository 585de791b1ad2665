#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>

#include "base/result.h"

namespace lathe::process {

/// What a run has used up to now.
struct Usage {
  std::int64_t cpu_us = 0;        ///< of all its processes, also of those that have ended where cgroup v2 counts them
  std::int64_t memory_bytes = 0;  ///< at this moment
  std::int64_t read_bytes = 0;    ///< from disks
  std::int64_t write_bytes = 0;   ///< to disks
};

/// Looks at one run again and again. Not thread-safe. What a process reads and writes counts as far as it is seen
/// between two looks: the kernel forgets it with the process.
class UsageMeter {
 public:
  explicit UsageMeter(const std::filesystem::path& folder);
  ~UsageMeter();
  UsageMeter(UsageMeter&&) noexcept;

  /// Reads a few small files, and one or three for each process. Errors: `not_found` when nothing of it runs any more.
  Result<Usage> look();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::process
