#pragma once

#include <chrono>
#include <deque>
#include <utility>

#include "infer/desired_state.h"

namespace lathe::infer {

/// The average over time of a number that changes now and then.
class LoadMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  void add(Time now, int change);
  /// The average since the last `take`.
  double take(Time now);
  int level() const { return level_; }

 private:
  void advance(Time now);

  int level_ = 0;
  double sum_ = 0;  ///< of the level, over seconds
  Time since_{};
  Time last_{};
};

/// Says how many workers a load needs: so many that they are busy for no more than the target's share of the time.
/// Grows at once, and shrinks to what was needed at most during the quiet time before, so that a load that comes and
/// goes does not start workers again and again; the last one goes when nothing came in all of that time. (The rule of
/// Kubernetes' horizontal autoscaler, with its stabilization window.)
class Autoscaler {
 public:
  using Time = LoadMeter::Time;

  explicit Autoscaler(const DesiredScale& scale) : scale_(scale) {}

  /// `load`: how many requests were there on average since the last time, computed or waiting. Times do not go back.
  int decide(Time now, double load);
  /// So many were started for another reason, and stay for the quiet time.
  void hold(Time now, int count);

 private:
  const DesiredScale scale_;
  /// What was needed and when; each is more than all after it.
  std::deque<std::pair<Time, int>> needed_;
};

}  // namespace lathe::infer
