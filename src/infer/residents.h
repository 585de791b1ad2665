#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "infer/sleeping_model.h"

namespace lathe::infer {

/// The models that may leave memory: those that sleep after a quiet time, and all of them where there is a budget,
/// within which the least recently used leaves for one that comes. None leaves while a request holds it; where too many
/// are held, the budget is exceeded until they are not. Nothing runs here while nothing wakes or falls asleep.
/// Thread-safe.
class Residents {
 public:
  /// `budget`: bytes; 0: no limit.
  explicit Residents(std::int64_t budget) : budget_(budget) {}
  ~Residents() { finish(); }
  Residents(const Residents&) = delete;

  std::int64_t budget() const { return budget_; }
  bool has_budget() const { return budget_ > 0; }
  /// Makes room for a model that is about to be loaded.
  void make_room(std::int64_t bytes);
  std::shared_ptr<const SleepingModel> add(std::shared_ptr<const Model> awake, SleepingModel::Terms terms);
  /// Waits for those that wake; from then on none does.
  void finish();

 private:
  friend class SleepingModel;
  using Clock = SleepingModel::Clock;
  using Held = SleepingModel::Held;

  void wake(const SleepingModel& model, SleepingModel::Then then);
  void load(const std::shared_ptr<const SleepingModel>& model);
  std::string trouble(const SleepingModel& model);
  void remove(const SleepingModel* model);
  void on_timer();

  // With the lock held. What leaves is given to the caller, who frees it without the lock.
  std::vector<Held> leave_for(std::int64_t bytes);
  std::vector<Held> leave_quiet(Clock::time_point now);
  void set_timer();

  const std::int64_t budget_;
  std::mutex mutex_;
  bool ended_ = false;
  bool is_over_ = false;  ///< the budget, as too many are held, or wake at once
  std::vector<const SleepingModel*> models_;
  boost::asio::thread_pool threads_{4};
  boost::asio::steady_timer timer_{threads_};
};

}  // namespace lathe::infer
