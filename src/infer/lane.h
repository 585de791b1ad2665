#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>

namespace lathe::infer {

/// Runs `work` on some other thread.
using Post = std::function<void(std::function<void()> work)>;

/// The slow requests of one deployment: so many run at once, so many wait, and the rest is told at once that it is
/// full. Thread-safe. A job keeps the lane alive by what it captures.
class Lane {
 public:
  using Clock = std::chrono::steady_clock;
  /// `late`: its deadline passed while it waited.
  using Job = std::function<void(bool late)>;

  Lane(std::size_t running_most, std::size_t waiting_most) : running_most_(running_most), waiting_most_(waiting_most) {}

  /// False when the lane is full; `job` is not called then.
  bool submit(const Post& post, Clock::time_point deadline, Job job);
  std::size_t waiting();

 private:
  struct Waiting {
    Clock::time_point deadline;
    Job job;
  };

  void run(const Post& post, Waiting first);

  std::mutex mutex_;
  std::size_t running_most_;
  std::size_t waiting_most_;
  std::size_t running_ = 0;
  std::deque<Waiting> waiting_;
};

/// How long a deployment takes for a byte of request, learnt from what it has taken: tells quick requests, which are
/// answered on the I/O thread, from slow ones, which go to the lane. Thread-safe.
class CostEstimate {
 public:
  explicit CostEstimate(std::chrono::nanoseconds first, std::size_t bytes) { add(first, bytes); }

  void add(std::chrono::nanoseconds took, std::size_t bytes);
  std::chrono::nanoseconds of(std::size_t bytes) const;

 private:
  static constexpr std::int64_t kUnit = 1024;  ///< of a nanosecond
  std::atomic<std::int64_t> units_per_byte_{0};
};

}  // namespace lathe::infer
