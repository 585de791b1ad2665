#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace lathe::serving {

/// Calls something again and again, on a thread of its own, while it says that there is a reason to.
class Ticker {
 public:
  /// `tick` answers whether it is to be called again after `pause`; else it is after `wake`.
  Ticker(std::chrono::milliseconds pause, std::function<bool()> tick) : pause_(pause), tick_(std::move(tick)) {}
  Ticker(const Ticker&) = delete;
  /// After the tick that goes on.
  ~Ticker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  /// Starts the thread; the first tick comes at once.
  void start() {
    thread_ = std::thread([this] { run(); });
  }
  /// Thread-safe.
  void wake() {
    {
      const std::lock_guard lock(mutex_);
      awake_ = true;
    }
    changed_.notify_all();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      awake_ = false;
      lock.unlock();
      const bool again = tick_();
      lock.lock();
      if (again)
        changed_.wait_for(lock, pause_, [this] { return stopping_; });
      else
        changed_.wait(lock, [this] { return stopping_ || awake_; });
    }
  }

  const std::chrono::milliseconds pause_;
  const std::function<bool()> tick_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lathe::serving
