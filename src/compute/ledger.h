#pragma once

#include <set>
#include <utility>
#include <vector>

#include "compute/machine.h"

/// Who may have what of one machine: cores, memory, GPUs and parts of GPUs. Every node of a cluster, every running compute
/// instance and every deployment takes from the same one.
namespace lathe::compute {

/// No clock and no I/O; not thread-safe. All functions take O(log n) for n GPUs.
class Ledger {
 public:
  explicit Ledger(const Resources& machine);

  /// Whether `count` times `amount` can be taken now.
  bool fits(const Resources& amount, std::int64_t count = 1) const;
  /// Takes what fits, and answers the numbers of its GPUs: of `first` those that can be had, then the lowest; of a part of
  /// a GPU the fullest that has room.
  std::vector<int> take(const Resources& amount, const std::vector<int>& first = {});
  /// Takes what something has already, after a restart: also what is not free.
  void take_again(const Resources& amount, const std::vector<int>& gpus);
  void give_back(const Resources& amount, const std::vector<int>& gpus);

  /// GPUs that processes outside Lathe use: none of these is given out. What was taken of them stays taken.
  void set_busy(const std::set<int>& gpus);
  bool busy(int gpu) const { return busy_.contains(gpu); }

  /// What is free: whole GPUs, and the largest rest of one that is shared.
  Resources free() const;

 private:
  /// Changes what is held of a GPU, in thousandths.
  void hold(int gpu, std::int64_t more);
  void list(int gpu);
  void unlist(int gpu);

  std::int64_t cores_;
  std::int64_t memory_bytes_;
  std::vector<std::int64_t> held_;                ///< by GPU: thousandths
  std::set<int> busy_;
  std::set<int> whole_;                           ///< those of which nothing is held
  std::set<std::pair<std::int64_t, int>> rests_;  ///< (what is free, GPU) of those of which a part is held
};

}  // namespace lathe::compute
