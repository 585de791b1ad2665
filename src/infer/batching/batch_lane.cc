#include "infer/batching/batch_lane.h"

#include <algorithm>
#include <map>

#include "infer/batching/join.h"
#include "infer/capture/capture.h"
#include "infer/response_cache.h"

namespace lathe::infer {
namespace {

using Clock = Batcher::Clock;
using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::size_t kQuickBytes = std::size_t{64} << 10;  ///< a larger body is decoded on the pool

/// What requests that run together ask for: each output once.
std::vector<std::size_t> all_wanted(const std::vector<const InferRequest*>& requests) {
  std::vector<std::size_t> wanted;
  for (const auto* const each : requests) wanted.insert(wanted.end(), each->wanted.begin(), each->wanted.end());
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  return wanted;
}

struct Ran {
  std::vector<std::size_t> wanted;
  std::vector<Tensor> outputs;
  std::size_t rows = 0;
  std::chrono::nanoseconds joining{};
  std::chrono::nanoseconds computing{};
};

Result<Ran> run_model(const Model& model, const std::vector<const InferRequest*>& requests) {
  Watch watch;
  Ran ran;
  std::vector<const std::vector<Tensor>*> parts;
  for (const auto* const each : requests) {
    parts.push_back(&each->inputs);
    ran.rows += rows_of(each->inputs);
  }
  const bool alone = requests.size() == 1;
  ran.wanted = alone ? requests.front()->wanted : all_wanted(requests);
  const auto joined = alone ? std::vector<Tensor>{} : join_inputs(parts);
  ran.joining = watch.lap();
  LATHE_CHECK(model.run(alone ? *parts.front() : joined, ran.wanted, ran.outputs));
  ran.computing = watch.lap();
  for (const auto& output : ran.outputs)
    if (!alone) LATHE_CHECK(cut_rows(output, ran.rows, 0, 0));
  return ran;
}

/// The outputs of one of several requests, whose rows begin at `first`.
std::vector<Tensor> part_of(const Ran& ran, const InferRequest& request, std::size_t first) {
  const auto rows = rows_of(request.inputs);
  std::vector<Tensor> outputs;
  for (const auto wanted : request.wanted) {
    const auto place = std::lower_bound(ran.wanted.begin(), ran.wanted.end(), wanted) - ran.wanted.begin();
    outputs.push_back(*cut_rows(ran.outputs[static_cast<std::size_t>(place)], ran.rows, first, rows));
  }
  return outputs;
}

}  // namespace

struct BatchLane::Entry {
  std::shared_ptr<const Deployment> deployment;
  Operation operation;
  const http::Request* request;
  http::Answer answer;
  std::chrono::nanoseconds woke{};  ///< before it came here
  std::uint64_t turn = 0;
  InferRequest asked = {};
  std::size_t rows = 0;
  std::optional<ResponseCache::Key> key = {};
  Timing timing = {};
  Batcher::Time since = Clock::now();
};

class BatchLane::Gate {
 public:
  std::uint64_t enter() {
    const std::lock_guard lock(mutex_);
    return ++entered_;
  }

  void leave(std::uint64_t turn, http::Answer answer, http::Reply reply) {
    const std::lock_guard lock(mutex_);
    ready_.emplace(turn, std::pair{std::move(answer), std::move(reply)});
    for (auto next = ready_.begin(); next != ready_.end() && next->first == left_ + 1; next = ready_.erase(next)) {
      ++left_;
      next->second.first(std::move(next->second.second));
    }
  }

 private:
  std::mutex mutex_;
  std::uint64_t entered_ = 0;
  std::uint64_t left_ = 0;
  std::map<std::uint64_t, std::pair<http::Answer, http::Reply>> ready_;
};

BatchLane::BatchLane(const ModelConfig& config, std::size_t instances)
    : instances_(instances),
      gate_(config.dynamic_batching->preserve_ordering ? std::make_unique<Gate>() : nullptr),
      batcher_(config) {}

BatchLane::~BatchLane() = default;

void BatchLane::ask(Tools& tools, std::shared_ptr<const Deployment> deployment, Operation operation,
                    const http::Request& request, std::chrono::nanoseconds woke, http::Answer answer) {
  auto entry = std::make_unique<Entry>(
      Entry{std::move(deployment), operation, &request, std::move(answer), woke, gate_ ? gate_->enter() : 0});
  if (request.body.size() <= kQuickBytes) return take(tools, std::move(entry));
  const auto shared = std::make_shared<EntryPtr>(std::move(entry));
  tools.post([self = shared_from_this(), &tools, shared] { self->take(tools, std::move(*shared)); });
}

/// Decodes, and answers from the cache or queues.
void BatchLane::take(Tools& tools, EntryPtr entry) {
  http::Reply refusal;
  const auto& deployment = *entry->deployment;
  Watch watch;
  const bool taken = guarded(deployment, refusal, [&]() -> Result<void> {
    LATHE_CHECK(decode(entry->operation, *entry->request, deployment, entry->asked));
    entry->rows = rows_of(entry->asked.inputs);
    entry->timing.parse = watch.lap();
    if (deployment.caches()) {
      LATHE_TRY(entry->key, ResponseCache::key_of(deployment.serial, entry->asked));
    }
    return {};
  });
  if (!taken) return finish(*entry, std::move(refusal));
  if (entry->key) {
    const auto hit = tools.cache->find(*entry->key);
    entry->timing.cache = hit ? Timing::Cache::hit : Timing::Cache::miss;
    entry->timing.lookup = watch.lap();
    if (hit) return deliver(tools, *entry, *hit);
  }

  const std::chrono::nanoseconds own = milliseconds(deployment.desired.request_timeout_ms);
  const auto now = Clock::now();
  Batcher::Request wish{0,
                        entry->asked.priority,
                        entry->rows,
                        kind_of(entry->asked.inputs),
                        entry->asked.timeout,
                        entry->since + std::min(own, entry->request->timeout.value_or(own))};
  entry->since = now;
  std::unique_lock lock(mutex_);
  wish.id = ++last_id_;
  bool added = batcher_.add(wish, now);
  if (!added) {  // the time of others may be over
    advance(tools, lock);
    lock.lock();
    added = batcher_.add(wish, Clock::now());
  }
  if (added) {
    waiting_.emplace(wish.id, std::move(entry));
    return advance(tools, lock);
  }
  lock.unlock();
  refuse(refusal, Code::exhausted,
         "the queue of deployment \"" + deployment.name +
             "\" is full (max_queue_size of its queue policy); try again later");
  finish(*entry, std::move(refusal));
}

void BatchLane::advance(Tools& tools, std::unique_lock<std::mutex>& lock) {
  std::vector<std::pair<EntryPtr, bool>> expired;
  std::vector<std::shared_ptr<Entries>> batches;
  const auto take_out = [this](Batcher::Id id) { return std::move(waiting_.extract(id).mapped()); };
  for (bool more = true; more;) {
    const auto step = batcher_.next(Clock::now(), running_ < instances_);
    for (const auto& each : step.expired) expired.emplace_back(take_out(each.id), each.by_policy);
    more = !step.batch.empty();
    if (more) {
      ++running_;
      auto& batch = *batches.emplace_back(std::make_shared<Entries>());
      for (const auto id : step.batch) batch.push_back(take_out(id));
    } else if (step.wake && !set_alarm(tools, *step.wake) && !hurries_) {
      batcher_.hurry();
      more = hurries_ = true;
    }
  }
  lock.unlock();
  for (auto& [entry, by_policy] : expired) refuse_late(*entry, by_policy);
  for (auto& batch : batches)
    tools.post([self = shared_from_this(), &tools, own = std::move(batch)] { self->run(tools, *own); });
}

bool BatchLane::set_alarm(Tools& tools, Batcher::Time when) {
  if (alarm_ && *alarm_ <= when) return true;
  alarm_ = when;
  return tools.clock.at(when, [weak = weak_from_this(), &tools, when](bool ends) {
    const auto self = weak.lock();
    if (!self) return;
    std::unique_lock lock(self->mutex_);
    if (ends || self->alarm_ == when) self->alarm_.reset();
    self->advance(tools, lock);
  });
}

std::size_t BatchLane::waiting() {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void BatchLane::run(Tools& tools, Entries& batch) {
  const auto begin = Clock::now();
  const auto& deployment = *batch.front()->deployment;
  std::vector<const InferRequest*> requests;
  for (const auto& entry : batch) {
    entry->timing.queue = begin - entry->since;
    requests.push_back(&entry->asked);
  }
  std::vector<std::vector<Tensor>> outputs(batch.size());
  std::vector<http::Reply> replies(batch.size());
  const auto compute = [&](std::size_t from, std::size_t to) {
    return guarded(deployment, replies[from], [&]() -> Result<void> {
      Watch watch;
      LATHE_TRY(auto ran, run_model(*deployment.model, {requests.begin() + static_cast<std::ptrdiff_t>(from),
                                                        requests.begin() + static_cast<std::ptrdiff_t>(to)}));
      watch.lap();
      std::size_t first = 0;
      for (auto i = from; i < to; ++i) {
        batch[i]->timing.compute = ran.joining + ran.computing;
        outputs[i] = to - from == 1 ? std::move(ran.outputs) : part_of(ran, batch[i]->asked, first);
        first += batch[i]->rows;
      }
      deployment.stats->add_batch({ran.rows, ran.joining, ran.computing, watch.lap()});
      return {};
    });
  };
  if (!compute(0, batch.size()) && batch.size() > 1) {
    // One of them may have been the reason: the others shall not fail with it.
    replies[0] = {};
    for (std::size_t i = 0; i < batch.size(); ++i) compute(i, i + 1);
  }
  {
    std::unique_lock lock(mutex_);
    --running_;
    advance(tools, lock);
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (replies[i].error)
      finish(*batch[i], std::move(replies[i]));
    else
      deliver(tools, *batch[i], std::move(outputs[i]));
  }
}

void BatchLane::deliver(Tools& tools, Entry& entry, std::vector<Tensor> outputs) {
  Watch watch;
  http::Reply reply;
  guarded(*entry.deployment, reply, [&]() -> Result<void> {
    if (entry.timing.cache == Timing::Cache::miss) tools.cache->put(*entry.key, outputs);
    entry.timing.lookup += watch.lap();
    if (const auto& capture = entry.deployment->capture)
      capture->take(*entry.request, entry.deployment->model, entry.asked.inputs, outputs);
    watch.lap();
    LATHE_CHECK(encode(entry.operation, *entry.request, *entry.deployment, entry.asked, outputs, reply));
    entry.timing.write = watch.lap();
    return {};
  });
  finish(entry, std::move(reply));
}

void BatchLane::refuse_late(Entry& entry, bool by_policy) {
  const auto& deployment = *entry.deployment;
  http::Reply reply;
  entry.timing.queue = Clock::now() - entry.since;
  if (by_policy)
    refuse(reply, Code::timeout,
           "the request waited " + std::to_string(duration_cast<microseconds>(entry.timing.queue).count()) +
               " microseconds for its turn, longer than the queue policy of deployment \"" + deployment.name +
               "\" allows (default_timeout_microseconds, or the request's own timeout)");
  else
    refuse(reply, waited_too_long(deployment, *entry.request));
  finish(entry, std::move(reply));
}

void BatchLane::finish(Entry& entry, http::Reply reply) {
  entry.timing.batched = true;
  entry.timing.queue += entry.woke;
  reply.headers = entry.deployment->reply_header + reply.headers;
  entry.deployment->count(reply.status, entry.timing, entry.rows);
  if (gate_)
    gate_->leave(entry.turn, std::move(entry.answer), std::move(reply));
  else
    entry.answer(std::move(reply));
}

}  // namespace lathe::infer
