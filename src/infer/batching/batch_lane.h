#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "infer/batching/alarm_clock.h"
#include "infer/batching/batcher.h"
#include "infer/predict.h"

namespace lathe::infer {

/// The requests of one deployment that batches: decodes them, lets the Batcher say which run together, runs those on
/// the pool, as many batches at once as it has instances, and gives each request its part. Thread-safe.
class BatchLane : public std::enable_shared_from_this<BatchLane> {
 public:
  /// What it works with; must outlive the requests.
  struct Tools {
    Post post;
    AlarmClock clock;  ///< once it has finished, nothing waits for others to join
    ResponseCache* cache = nullptr;
  };

  BatchLane(const ModelConfig& config, std::size_t instances);
  ~BatchLane();

  /// Calls `answer` exactly once, perhaps at once, on any thread. `request` is valid until then. `deployment` is the
  /// one that this belongs to. `woke`: how long the model took to wake for it.
  void ask(Tools& tools, std::shared_ptr<const Deployment> deployment, Operation operation,
           const http::Request& request, std::chrono::nanoseconds woke, http::Answer answer);

  /// Requests that wait for a batch.
  std::size_t waiting();

 private:
  struct Entry;
  using EntryPtr = std::unique_ptr<Entry>;
  using Entries = std::vector<EntryPtr>;
  /// Gives answers in the order of their turns.
  class Gate;

  void take(Tools& tools, EntryPtr entry);
  /// Does what the batcher says; `lock` is released then.
  void advance(Tools& tools, std::unique_lock<std::mutex>& lock);
  /// False: no clock tells the time any longer.
  bool set_alarm(Tools& tools, Batcher::Time when);
  void run(Tools& tools, Entries& batch);
  void deliver(Tools& tools, Entry& entry, std::vector<Tensor> outputs);
  void refuse_late(Entry& entry, bool by_policy);
  void finish(Entry& entry, http::Reply reply);

  const std::size_t instances_;
  const std::unique_ptr<Gate> gate_;  ///< null: answers go as they come
  std::mutex mutex_;
  Batcher batcher_;
  std::unordered_map<Batcher::Id, EntryPtr> waiting_;
  Batcher::Id last_id_ = 0;
  std::size_t running_ = 0;
  bool hurries_ = false;                ///< the server ends
  std::optional<Batcher::Time> alarm_;  ///< the next one that is set
};

}  // namespace lathe::infer
