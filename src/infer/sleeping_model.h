#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "infer/load_model.h"
#include "infer/runtimes/runtime.h"

namespace lathe::infer {

class Residents;

/// A model that leaves memory while nobody asks it, and comes back with the next request; what it says of itself stays.
/// Made by `Residents::add`, which must outlive it.
class SleepingModel : public Model, public std::enable_shared_from_this<SleepingModel> {
 public:
  using Clock = std::chrono::steady_clock;
  /// The model in memory, which stays there as long as this is held.
  using Held = std::shared_ptr<const Model>;
  using Then = std::function<void(Result<Held>)>;

  /// How it sleeps and wakes.
  struct Terms {
    std::function<Result<LoadedModel>()> load;       ///< blocks; on any thread
    std::int64_t bytes = 0;                          ///< what it takes of the budget
    std::optional<std::chrono::milliseconds> quiet;  ///< without a request, after which it leaves; none: it stays
    std::string name = {};                           ///< for the log
    std::function<void()> on_change = {};            ///< of `trouble`; on any thread
  };

  SleepingModel(Residents& residents, Held awake, Terms terms);
  ~SleepingModel() override;

  std::string_view platform() const override { return platform_; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return converts_numbers_; }
  /// Wakes it, and blocks until it is awake, where that was not done before.
  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                   std::vector<Tensor>& outputs) const override;
  const SleepingModel* sleeper() const override { return this; }

  /// Null: it sleeps.
  Held use() const;
  /// How often it was loaded again.
  std::uint64_t wakes() const { return wakes_.load(std::memory_order_relaxed); }
  bool awake() const { return awake_.load() != nullptr; }
  /// Why it could not be loaded again when that was tried last; empty: it could.
  std::string trouble() const;
  /// Calls `then` once, at once or on another thread, when the model is awake; all who ask meanwhile share one load.
  /// Errors: `unavailable` — it cannot be loaded, or could not a moment ago; it is not tried again at once.
  void wake(Then then) const;

 private:
  friend class Residents;

  /// Takes the model out of memory: what is given is the last of it. Null: a request holds it, or it sleeps.
  /// With the residents' lock held.
  Held leave() const;

  Residents& residents_;
  const Terms terms_;
  const std::string platform_;
  const std::vector<TensorInfo> inputs_;
  const std::vector<TensorInfo> outputs_;
  const std::vector<std::string> columns_;
  const bool converts_numbers_;
  mutable std::atomic<Held> awake_;
  mutable std::atomic<Clock::time_point> last_used_;

  mutable std::atomic<std::uint64_t> wakes_{0};

  // With the residents' lock held.
  mutable bool is_waking_ = false;
  mutable std::vector<Then> waiting_;
  mutable int failures_ = 0;
  mutable Clock::time_point not_before_{};
  mutable std::string why_;
};

}  // namespace lathe::infer
