#include "infer/rate_limit.h"

#include <algorithm>

namespace lathe::infer {
namespace {

constexpr double kSecondNs = 1e9;
// What the server lets through; beyond it the sums below would not hold what they count.
constexpr double kLongestStepNs = 1e12;
constexpr std::int64_t kMostBurst = 1'000'000;

}  // namespace

RateLimit::RateLimit(const DesiredRateLimit& limit, const std::vector<KeyDigest>& keys)
    : limit_(limit),
      step_ns_(static_cast<std::int64_t>(std::clamp(kSecondNs / limit.requests_per_second, 1.0, kLongestStepNs))),
      room_ns_(step_ns_ * std::clamp<std::int64_t>(limit.burst, 1, kMostBurst)),
      keys_(keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) full_at_ns_.push_back(std::make_shared<std::atomic<std::int64_t>>(0));
}

RateLimit::RateLimit(const RateLimit& before, const std::vector<KeyDigest>& keys) : RateLimit(before.limit_, keys) {
  refused_ = before.refused_;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto found = std::find(before.keys_.begin(), before.keys_.end(), keys[i]);
    if (found != before.keys_.end())
      full_at_ns_[i] = before.full_at_ns_[static_cast<std::size_t>(found - before.keys_.begin())];
  }
}

std::chrono::nanoseconds RateLimit::take(std::size_t key, Clock::time_point now) {
  const auto now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  auto& full_at = *full_at_ns_.at(key);
  auto seen = full_at.load(std::memory_order_relaxed);
  for (;;) {
    const auto then = std::max(seen, now_ns) + step_ns_;
    if (const auto wait = then - now_ns - room_ns_; wait > 0) {
      refused_->fetch_add(1, std::memory_order_relaxed);
      return std::chrono::nanoseconds(wait);
    }
    if (full_at.compare_exchange_weak(seen, then, std::memory_order_relaxed)) return {};
  }
}

}  // namespace lathe::infer
