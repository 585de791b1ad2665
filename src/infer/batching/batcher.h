#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model_config/model_config.h"

namespace lathe::infer {

/// Triton's dynamic batching as a state machine without clock or threads: which of the waiting requests make the next
/// batch, and which have waited too long. Requests are served level by level, in each those whose time is not over in
/// the order in which they came, then those that were put behind (DELAY). A batch is always the head of that order.
class Batcher {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  using Id = std::uint64_t;

  struct Request {
    Id id = 0;                            ///< different from all that wait
    std::uint64_t priority = 0;           ///< 0, or one that is no level: the default
    std::size_t rows = 1;                 ///< at most max_batch_size
    std::string kind = {};                ///< only requests of one kind share a batch
    std::chrono::microseconds timeout{};  ///< that it asks for; 0: none
    Time limit = Time::max();             ///< refused then, whatever the policy says
  };

  struct Expired {
    Id id = 0;
    bool by_policy = false;  ///< else by its limit
  };

  /// What is to be done now.
  struct Step {
    std::vector<Expired> expired;  ///< in the order of their times
    std::vector<Id> batch;         ///< empty: none yet
    std::optional<Time> wake;      ///< when time alone makes another step
  };

  explicit Batcher(const ModelConfig& config);

  /// False when the queue of the request's level is full; it is not kept then.
  bool add(Request request, Time now);
  /// `free`: an instance could run a batch. Ask again after each batch taken.
  Step next(Time now, bool free);

  /// From now on nothing waits for others to join.
  void hurry() { delay_ = {}; }

  bool empty() const { return waiting_.empty(); }

 private:
  struct Place {
    std::uint64_t level = 0;
    bool delayed = false;
    std::uint64_t turn = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Waiting {
    Request request;
    Time since;
    Time timeout = Time::max();  ///< of the policy; max: none, or over
  };
  using Queue = std::map<Place, Waiting>;

  const QueuePolicy& policy_of(std::uint64_t level) const;
  void expire(Time now, std::vector<Expired>& out);
  Queue::iterator drop(Queue::iterator it);
  void watch(const Place& place, const Waiting& waiting);
  /// How many from the head make a batch now; 0: it is worth waiting for more, until `wake`.
  std::size_t choose(Time now, Time& wake) const;

  const std::size_t max_rows_;
  const DynamicBatching config_;
  std::chrono::microseconds delay_;
  Queue waiting_;
  std::set<std::pair<Time, Place>> times_;       ///< when each that has a limit or a timeout reaches the first of them
  std::map<std::uint64_t, std::int64_t> sizes_;  ///< requests by level
  std::uint64_t turns_ = 0;
};

}  // namespace lathe::infer
