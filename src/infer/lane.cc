#include "infer/lane.h"

#include <algorithm>

namespace lathe::infer {
namespace {

constexpr std::size_t kLeastBytes = 100;  ///< a smaller request costs as much

}  // namespace

bool Lane::submit(const Post& post, Clock::time_point deadline, Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (running_ == running_most_) {
      if (waiting_.size() >= waiting_most_) return false;
      waiting_.push_back({deadline, std::move(job)});
      return true;
    }
    ++running_;
  }
  run(post, {deadline, std::move(job)});
  return true;
}

std::size_t Lane::waiting() {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

/// One job after another, each posted anew, so that the deployments share the pool's threads fairly.
void Lane::run(const Post& post, Waiting first) {
  post([this, &post, own = std::move(first)] {
    own.job(Clock::now() > own.deadline);
    Waiting then;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) {
        --running_;
        return;
      }
      then = std::move(waiting_.front());
      waiting_.pop_front();
    }
    run(post, std::move(then));
  });
}

void CostEstimate::add(std::chrono::nanoseconds took, std::size_t bytes) {
  const auto units = took.count() * kUnit / static_cast<std::int64_t>(std::max(bytes, kLeastBytes));
  const auto before = units_per_byte_.load(std::memory_order_relaxed);
  // Races lose one observation, which does not matter.
  units_per_byte_.store(before == 0 ? units : before + (units - before) / 8, std::memory_order_relaxed);
}

std::chrono::nanoseconds CostEstimate::of(std::size_t bytes) const {
  return std::chrono::nanoseconds(units_per_byte_.load(std::memory_order_relaxed) *
                                  static_cast<std::int64_t>(std::max(bytes, kLeastBytes)) / kUnit);
}

}  // namespace lathe::infer
