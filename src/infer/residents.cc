#include "infer/residents.h"

#include <malloc.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/log.h"

namespace lathe::infer {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::milliseconds kLookAgain{100};  ///< at one that a request holds

/// Before the next try, after so many that failed.
std::chrono::seconds pause_after(int failures) {
  constexpr int kLongest = 32;
  return std::chrono::seconds(std::min(kLongest, 1 << std::min(failures - 1, 5)));
}

/// Frees models, and gives the memory back to the machine, which the allocator alone would keep.
void free_models(std::vector<std::shared_ptr<const Model>> models) {
  if (models.empty()) return;
  models.clear();
  ::malloc_trim(0);
}

}  // namespace

std::shared_ptr<const SleepingModel> Residents::add(Held awake, SleepingModel::Terms terms) {
  auto model = std::make_shared<const SleepingModel>(*this, std::move(awake), std::move(terms));
  std::vector<Held> left;
  {
    const std::lock_guard lock(mutex_);
    left = leave_for(model->terms_.bytes);
    models_.push_back(model.get());
    set_timer();
  }
  free_models(std::move(left));
  return model;
}

std::string Residents::trouble(const SleepingModel& model) {
  const std::lock_guard lock(mutex_);
  return model.failures_ > 0 ? model.why_ : std::string{};
}

void Residents::remove(const SleepingModel* model) {
  const std::lock_guard lock(mutex_);
  std::erase(models_, model);
}

void Residents::make_room(std::int64_t bytes) {
  std::vector<Held> left;
  {
    const std::lock_guard lock(mutex_);
    left = leave_for(bytes);
    set_timer();
  }
  free_models(std::move(left));
}

std::vector<Residents::Held> Residents::leave_for(std::int64_t bytes) {
  std::vector<Held> left;
  if (!has_budget()) return left;
  bool comes = bytes > 0;
  std::int64_t taken = bytes;
  std::size_t count = comes ? 1 : 0;
  std::vector<std::pair<Clock::time_point, const SleepingModel*>> awake;
  for (const auto* const each : models_) {
    const bool is_awake = each->awake();
    if (is_awake) awake.emplace_back(each->last_used_.load(), each);
    if (!is_awake && !each->is_waking_) continue;
    ++count;
    taken += each->terms_.bytes;
    comes = comes || each->is_waking_;
  }
  std::sort(awake.begin(), awake.end());
  if (!comes && !awake.empty()) awake.pop_back();  // one stays, also where it alone is too large
  for (const auto& [when, each] : awake) {
    if (taken <= budget_) break;
    auto held = each->leave();
    if (!held) continue;
    --count;
    taken -= each->terms_.bytes;
    left.push_back(std::move(held));
  }
  is_over_ = taken > budget_ && count > 1;
  return left;
}

void Residents::wake(const SleepingModel& model, SleepingModel::Then then) {
  Result<Held> known = Held();
  {
    const std::lock_guard lock(mutex_);
    known = model.use();
    if (ended_) {
      known = fail(Code::unavailable, "the server ends");
    } else if (!*known && Clock::now() < model.not_before_) {
      known = fail(Code::unavailable, model.why_ + "; it is tried again in a moment");
    } else if (!*known) {
      model.waiting_.push_back(std::move(then));
      if (std::exchange(model.is_waking_, true)) return;
      return asio::post(threads_, [this, self = model.shared_from_this()] { load(self); });
    }
  }
  then(std::move(known));
}

void Residents::load(const std::shared_ptr<const SleepingModel>& model) {
  make_room(0);  // it counts already
  auto loaded = model->terms_.load();
  Result<Held> known = Held();
  std::vector<SleepingModel::Then> waiting;
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    model->is_waking_ = false;
    changed = loaded.has_value() == (model->failures_ > 0);
    waiting.swap(model->waiting_);
    if (loaded) {
      known = Held(std::move(loaded->model));
      model->awake_.store(*known);
      model->last_used_.store(Clock::now());
      model->failures_ = 0;
      ++model->wakes_;
    } else {
      model->not_before_ = Clock::now() + pause_after(++model->failures_);
      model->why_ = "the model left memory, and cannot be loaded again: " + loaded.error().message;
      known = fail(Code::unavailable, model->why_);
    }
    set_timer();
  }
  if (!known) log::error("a model does not wake {} error=\"{}\"", model->terms_.name, known.error().message);
  if (changed && model->terms_.on_change) model->terms_.on_change();
  for (const auto& then : waiting) then(known);
}

/// Until the first of those that may sleep has been quiet for long enough, or those that were held may be so no longer.
void Residents::set_timer() {
  std::optional<Clock::time_point> first;
  if (is_over_) first = Clock::now() + kLookAgain;
  for (const auto* const each : models_)
    if (each->terms_.quiet && each->awake()) {
      const auto when = each->last_used_.load() + *each->terms_.quiet;
      first = first ? std::min(*first, when) : when;
    }
  if (!first || ended_) return;
  timer_.expires_at(*first);
  timer_.async_wait([this](const auto& error) {
    if (!error) on_timer();
  });
}

void Residents::on_timer() {
  std::vector<Held> left;
  {
    const std::lock_guard lock(mutex_);
    left = leave_quiet(Clock::now());
    for (auto& each : leave_for(0)) left.push_back(std::move(each));
    set_timer();
  }
  free_models(std::move(left));
}

std::vector<Residents::Held> Residents::leave_quiet(Clock::time_point now) {
  std::vector<Held> left;
  for (const auto* const each : models_) {
    if (!each->terms_.quiet || !each->awake() || each->last_used_.load() + *each->terms_.quiet > now) continue;
    if (auto held = each->leave())
      left.push_back(std::move(held));
    else
      each->last_used_.store(now - *each->terms_.quiet + kLookAgain);
  }
  return left;
}

void Residents::finish() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    timer_.cancel();
  }
  threads_.join();
}

}  // namespace lathe::infer
