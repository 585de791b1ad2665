#include <algorithm>

#include "infer/workers/channel.h"
#include "infer/workers/pool_worker.h"
#include "infer/workers/worker_host.h"

/// How a pool that sleeps has an interpreter ready for its wake.
namespace lathe::infer {

int WorkerPool::parked() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(workers_.begin(), workers_.end(),
                                        [](const auto& each) { return each->stage == Worker::Stage::parked; }));
}

void WorkerPool::park() {
  Worker* worker = nullptr;
  Clock::time_point used;
  {
    const std::lock_guard lock(mutex_);
    const auto is_gone = [](const auto& each) { return !each->wanted && each->stage == Worker::Stage::gone; };
    const auto was_of_use = [](const auto& each) { return each->was_ready; };
    const bool sleeps = scaler_ && state_.stage == WorkerState::Stage::ready && !workers_.empty() &&
                        std::all_of(workers_.begin(), workers_.end(), is_gone);
    if (!sleeps || stopping_ || !parks_) return;
    // One that ends without having been woken is not missed.
    if (std::none_of(workers_.begin(), workers_.end(), was_of_use)) return;
    for (auto& each : workers_) each->was_ready = false;
    worker = workers_.front().get();
    used = last_used_;
  }
  if (host_.may_park(shared_from_this(), used)) launch(*worker, true);
}

void WorkerPool::wake_parked(Worker& worker) {
  host_.has_parked_no_longer(this);
  worker.stage = Worker::Stage::starting;
  worker.since = Clock::now();
  const auto told = worker.channel.send(kWake, {}, {});
  if (!told || !*told) end_worker(worker, "it cannot be woken");  // another one is started then
  keep_ticking();
}

void WorkerPool::unpark() {
  const std::lock_guard lock(mutex_);
  for (auto& worker : workers_)
    if (!worker->wanted && worker->is_parked()) end_worker(*worker, "others were asked later");
}

}  // namespace lathe::infer
