#include "infer/batching/batcher.h"

#include <algorithm>

namespace lathe::infer {

using std::chrono::microseconds;

Batcher::Batcher(const ModelConfig& config)
    : max_rows_(static_cast<std::size_t>(config.max_batch_size)),
      config_(config.dynamic_batching.value_or(DynamicBatching{})),
      delay_(config_.max_queue_delay_microseconds) {}

const QueuePolicy& Batcher::policy_of(std::uint64_t level) const {
  const auto own = config_.priority_queue_policy.find(std::to_string(level));
  return own != config_.priority_queue_policy.end() ? own->second : config_.default_queue_policy;
}

bool Batcher::add(Request request, Time now) {
  const auto levels = static_cast<std::uint64_t>(config_.priority_levels);
  const auto level = request.priority > 0 && request.priority <= levels
                         ? request.priority
                         : static_cast<std::uint64_t>(config_.default_priority_level);
  const auto& policy = policy_of(level);
  auto& size = sizes_[level];
  if (policy.max_queue_size > 0 && size >= policy.max_queue_size) return false;
  ++size;

  microseconds timeout(policy.default_timeout_microseconds);
  const bool lowers = request.timeout.count() > 0 && (timeout.count() == 0 || request.timeout < timeout);
  if (policy.allow_timeout_override && lowers) timeout = request.timeout;
  const Place place{level, false, ++turns_};
  Waiting waiting{std::move(request), now, timeout.count() > 0 ? now + timeout : Time::max()};
  watch(place, waiting);
  waiting_.emplace(place, std::move(waiting));
  return true;
}

void Batcher::watch(const Place& place, const Waiting& waiting) {
  if (const auto first = std::min(waiting.timeout, waiting.request.limit); first != Time::max())
    times_.emplace(first, place);
}

Batcher::Queue::iterator Batcher::drop(Queue::iterator it) {
  times_.erase({std::min(it->second.timeout, it->second.request.limit), it->first});
  --sizes_[it->first.level];
  return waiting_.erase(it);
}

void Batcher::expire(Time now, std::vector<Expired>& out) {
  while (!times_.empty() && times_.begin()->first <= now) {
    const auto it = waiting_.find(times_.begin()->second);
    auto& [place, waiting] = *it;
    const bool by_policy = waiting.timeout <= now;
    const bool ends = waiting.request.limit <= now || policy_of(place.level).timeout_action == "REJECT";
    if (ends) {
      out.push_back({waiting.request.id, by_policy && waiting.timeout <= waiting.request.limit});
      drop(it);
      continue;
    }
    // Behind all others of its level whose time is not over, where it is no longer timed.
    times_.erase(times_.begin());
    auto moved = std::move(waiting);
    const Place behind{place.level, true, place.turn};
    waiting_.erase(it);
    moved.timeout = Time::max();
    watch(behind, moved);
    waiting_.emplace(behind, std::move(moved));
  }
}

std::size_t Batcher::choose(Time now, Time& wake) const {
  std::size_t count = 0;
  std::size_t rows = 0;
  std::size_t preferred = 0;
  bool closed = false;  // no request that comes can join
  auto oldest = Time::max();
  const auto& kind = waiting_.begin()->second.request.kind;
  for (const auto& [place, waiting] : waiting_) {
    closed = rows + waiting.request.rows > max_rows_ || waiting.request.kind != kind;
    if (closed) break;
    rows += waiting.request.rows;
    ++count;
    oldest = std::min(oldest, waiting.since);
    if (std::binary_search(config_.preferred_batch_size.begin(), config_.preferred_batch_size.end(),
                           static_cast<std::int64_t>(rows)))
      preferred = count;
  }
  if (preferred > 0) return preferred;
  if (closed || rows == max_rows_ || now - oldest >= delay_) return count;
  wake = oldest + delay_;
  return 0;
}

Batcher::Step Batcher::next(Time now, bool free) {
  Step step;
  expire(now, step.expired);
  auto wake = Time::max();
  if (free && !waiting_.empty()) {
    for (auto count = choose(now, wake); count > 0; --count) {
      step.batch.push_back(waiting_.begin()->second.request.id);
      drop(waiting_.begin());
    }
  }
  if (!times_.empty()) wake = std::min(wake, times_.begin()->first);
  if (wake != Time::max()) step.wake = wake;
  return step;
}

}  // namespace lathe::infer
