#pragma once

#include <functional>
#include <mutex>
#include <utility>

namespace lathe::infer::http {

/// Tells who has a request wait that its client has gone. Thread-safe.
class Departure {
 public:
  /// `then` is called at most once, when the client goes before it is answered; it takes the place of an earlier one.
  void on(std::function<void()> then) {
    const std::lock_guard lock(mutex_);
    then_ = std::move(then);
  }
  bool is_awaited() const {
    const std::lock_guard lock(mutex_);
    return then_ != nullptr;
  }
  void happen() {
    if (const auto then = take()) then();
  }
  /// The client was answered.
  void forget() { take(); }

 private:
  std::function<void()> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(then_, nullptr);
  }

  mutable std::mutex mutex_;
  std::function<void()> then_;
};

}  // namespace lathe::infer::http
