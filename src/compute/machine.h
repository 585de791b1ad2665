#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::compute {

/// An amount of a machine: what it has, what a node holds.
struct Resources {
  std::int64_t cores = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t gpus = 0;

  bool fits_in(const Resources& room) const {
    return cores <= room.cores && memory_bytes <= room.memory_bytes && gpus <= room.gpus;
  }
  Resources& operator+=(const Resources& other);
  Resources& operator-=(const Resources& other);
  bool operator==(const Resources&) const = default;
  /// "2 cores, 7.5 GiB" or "4 cores, 28 GiB, 1 GPU".
  std::string words() const;
};

/// What this process may use of this machine: the cores of its affinity, the memory (less what a cgroup withholds),
/// the NVIDIA GPUs that the driver lists.
Resources this_machine();

}  // namespace lathe::compute
