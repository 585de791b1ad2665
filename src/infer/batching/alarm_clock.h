#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace lathe::infer {

/// Calls back at given times, from a thread of its own that sleeps otherwise, and starts with the first alarm.
/// Thread-safe.
class AlarmClock {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// `ends`: the clock ends before the time has come. Must not block, nor throw.
  using Alarm = std::function<void(bool ends)>;

  AlarmClock() = default;
  ~AlarmClock() { finish(); }
  AlarmClock(const AlarmClock&) = delete;
  AlarmClock& operator=(const AlarmClock&) = delete;

  /// False when the clock has ended; `alarm` is not called then.
  bool at(Time when, Alarm alarm);
  /// Calls all that still wait, with `ends`, and returns when they are done.
  void finish();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Time, Alarm> alarms_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace lathe::infer
