#include "infer/batching/alarm_clock.h"

#include <utility>

namespace lathe::infer {

bool AlarmClock::at(Time when, Alarm alarm) {
  const std::lock_guard lock(mutex_);
  if (ends_) return false;
  const bool first = alarms_.empty() || when < alarms_.begin()->first;
  alarms_.emplace(when, std::move(alarm));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  if (first) changed_.notify_one();
  return true;
}

void AlarmClock::finish() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void AlarmClock::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool ends = ends_;
    if (alarms_.empty()) {
      if (ends) return;
      changed_.wait(lock);
      continue;
    }
    const auto first = alarms_.begin()->first;
    if (!ends && std::chrono::steady_clock::now() < first) {
      changed_.wait_until(lock, first);
      continue;
    }
    const auto alarm = std::move(alarms_.extract(alarms_.begin()).mapped());
    lock.unlock();
    alarm(ends);
    lock.lock();
  }
}

}  // namespace lathe::infer
