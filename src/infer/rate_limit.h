#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "infer/desired_state.h"

namespace lathe::infer {

/// How many predictions each key of an endpoint may ask for: a token bucket for each, as the generic cell rate
/// algorithm has it (ITU-T I.371: one number, the time at which the bucket will be full again). Thread-safe.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  /// `limit`: with requests_per_second above 0 and a burst of at least 1.
  explicit RateLimit(const DesiredRateLimit& limit, const std::vector<KeyDigest>& keys);
  /// A key that was there before goes on where it is.
  RateLimit(const RateLimit& before, const std::vector<KeyDigest>& keys);

  const DesiredRateLimit& limit() const { return limit_; }
  const std::vector<KeyDigest>& keys() const { return keys_; }

  /// Takes one of the key at this index. Gives how long to wait where there is none: 0 when it was taken.
  std::chrono::nanoseconds take(std::size_t key, Clock::time_point now);
  std::uint64_t refused() const { return refused_->load(std::memory_order_relaxed); }

 private:
  DesiredRateLimit limit_;
  std::int64_t step_ns_;  ///< between two requests
  std::int64_t room_ns_;  ///< for all of a burst
  std::vector<KeyDigest> keys_;
  std::vector<std::shared_ptr<std::atomic<std::int64_t>>> full_at_ns_;  ///< of each key
  std::shared_ptr<std::atomic<std::uint64_t>> refused_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace lathe::infer
