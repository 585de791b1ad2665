#include <algorithm>
#include <boost/asio/post.hpp>

#include "infer/workers/pool_worker.h"
#include "infer/workers/worker_host.h"

/// How a pool gets and loses workers while it runs.
namespace lathe::infer {
namespace {

namespace asio = boost::asio;

/// What a client may read of why a worker did not start; its log has the rest.
std::string first_line(const std::string& why) {
  constexpr std::size_t kMost = 300;
  return why.substr(0, std::min(why.find('\n'), kMost));
}

}  // namespace

int WorkerPool::ready_workers() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(workers_.begin(), workers_.end(),
                                        [](const auto& each) { return each->wanted && each->is_ready(); }));
}

bool WorkerPool::sleeps() const {
  const std::lock_guard lock(mutex_);
  return scaler_ && wanted() == 0;
}

std::size_t WorkerPool::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void WorkerPool::forget(std::uint64_t number) {
  Done done;
  {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& each) { return each.number == number; });
    if (found == waiting_.end()) return;
    done = std::move(found->done);
    waiting_.erase(found);
    load_.add(Clock::now(), -1);
  }
  done(fail(Code::timeout, "its client went away before a worker was free"));
}

int WorkerPool::wanted() const {
  return static_cast<int>(
      std::count_if(workers_.begin(), workers_.end(), [](const auto& each) { return each->wanted; }));
}

bool WorkerPool::any_ready() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& each) { return each->is_ready(); });
}

void WorkerPool::want_one() {
  const auto waits = [](const auto& each) { return !each->wanted && each->is_parked(); };
  if (const auto parked = std::find_if(workers_.begin(), workers_.end(), waits); parked != workers_.end()) {
    (*parked)->wanted = true;
    (*parked)->failures = 0;
    return wake_parked(**parked);
  }
  const auto is_free = [](const auto& each) { return !each->wanted && each->stage == Worker::Stage::gone; };
  auto found = std::find_if(workers_.begin(), workers_.end(), is_free);
  if (found == workers_.end()) {
    workers_.push_back(std::make_unique<Worker>(host_.io(), static_cast<int>(workers_.size()) + 1));
    found = std::prev(workers_.end());
  }
  auto& worker = **found;
  worker.wanted = true;
  worker.failures = 0;
  keep_ticking();
  asio::post(host_.io(), [this, self = shared_from_this(), &worker] { launch(worker, false); });
}

bool WorkerPool::leave_one() {
  const auto waits_to_start = [](const auto& each) { return each->wanted && each->stage == Worker::Stage::gone; };
  const auto found = std::find_if(workers_.begin(), workers_.end(), waits_to_start);
  if (found != workers_.end()) {
    (*found)->wanted = false;
    return true;
  }
  if (idle_.empty()) return false;  // nothing is taken from one that computes; there will be another time
  auto& worker = *idle_.front();
  idle_.erase(idle_.begin());
  worker.wanted = false;
  worker.stage = Worker::Stage::ending;
  worker.since = Clock::now();
  worker.why = "the load does not need it";
  worker.channel.finish();
  keep_ticking();
  return true;
}

void WorkerPool::scale_to(int count, Clock::time_point now) {
  int have = wanted();
  for (; have < count && now >= no_start_before_; ++have) want_one();
  while (have > count && leave_one()) --have;
}

bool WorkerPool::wake(Clock::time_point now) {
  if (now < no_start_before_) return false;
  scaler_->hold(now, 1);
  want_one();
  return true;
}

void WorkerPool::start_failed(Worker& worker, const std::string& why, Answers& answers) {
  worker.wanted = false;
  parked_failed_ = false;
  no_start_before_ = Clock::now() + pause_after(++failed_starts_);
  no_start_why_ = "no worker of the deployment could be started: " + first_line(why);
  if (wanted() > 0) return;
  set_state(WorkerState::Stage::failed, with_last_lines(why));
  refuse_waiting(Code::unavailable, no_start_why_, answers);
}

void WorkerPool::keep_polling() {
  if (!scaler_ || std::exchange(polling_, true)) return;
  load_.take(Clock::now());
  asio::post(host_.io(), [this, self = shared_from_this()] {
    poller_.expires_after(std::chrono::milliseconds(model_.scale->polling_ms));
    poller_.async_wait([this, self](const auto& error) {
      if (!error) poll();
    });
  });
}

void WorkerPool::poll() {
  const std::lock_guard lock(mutex_);
  polling_ = false;
  if (stopping_) return;
  const auto now = Clock::now();
  const int wish = scaler_->decide(now, load_.take(now));
  const int have = wanted();
  // One that fails again and again is not asked for more of the same.
  if (state_.stage != WorkerState::Stage::starting)
    scale_to(state_.stage == WorkerState::Stage::ready ? wish : std::min(wish, have), now);
  if (load_.level() > 0 || wanted() > model_.scale->least) keep_polling();
}

}  // namespace lathe::infer
