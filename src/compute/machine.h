#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::compute {

/// An amount of a machine: what it has, what a node holds, what is free.
struct Resources {
  std::int64_t cores = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t gpus = 0;       ///< whole ones
  std::int64_t gpu_share = 0;  ///< thousandths of one more GPU, which others share; of what is free: the largest such rest

  bool fits_in(const Resources& room) const {
    return cores <= room.cores && memory_bytes <= room.memory_bytes && gpus <= room.gpus &&
           (gpu_share <= room.gpu_share || gpus < room.gpus);
  }
  /// Sums of shares may be more than a GPU: who holds which is the ledger's knowledge.
  Resources& operator+=(const Resources& other);
  Resources& operator-=(const Resources& other);
  bool operator==(const Resources&) const = default;
  /// GPUs with their fraction: 2, 0.5.
  double gpu_count() const { return static_cast<double>(gpus) + static_cast<double>(gpu_share) / 1000; }
  /// "2 cores, 7.5 GiB" or "4 cores, 28 GiB, 1 GPU" or "1 core, 4 GiB, 0.5 GPU".
  std::string words() const;
};

/// What this process may use of this machine: the cores of its affinity, the memory (less what a cgroup withholds), and
/// `gpus`, as `Gpus` counts them.
Resources this_machine(std::int64_t gpus);

}  // namespace lathe::compute
