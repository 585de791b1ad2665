#pragma once

#include <cstdint>

#include "base/time.h"
#include "compute/events.h"

namespace lathe::compute {

/// How much users have used, what is long ago counting less: as in Kay and Lauder, "A Fair Share Scheduler" (CACM 1988), and
/// in Slurm's multifactor priority, use loses half its weight in each half-life.
///
/// Time is cut into half-lives, and use in each weighs twice as much as in the one before ("forward decay": Cormode,
/// Shkapenyuk, Srivastava, Xu, ICDE 2009). So sums need no change as time passes and users keep their order, and, being
/// whole numbers, sums do not depend on the order in which they were made.
class FairShare {
 public:
  explicit FairShare(std::chrono::seconds half_life) : half_life_(half_life) {}

  /// The weighted use of a share of the machine (in millionths) during some time.
  std::int64_t charge(std::int64_t share, Time from, Time to) const;

  /// To be called before anything is charged at `now`. Answers by how many bits sums made before must be shifted to the
  /// right, mostly 0: else they would grow without bound.
  int advance(Time now);

  /// The half-life since 1970 in which use weighs 1.
  std::int64_t period() const { return period_; }
  void set_period(std::int64_t period) { period_ = period; }

 private:
  std::int64_t period_of(Time time) const { return micros(time) / Time::duration(half_life_).count(); }

  std::chrono::seconds half_life_;
  std::int64_t period_ = -1;
};

/// How much of the machine so many nodes are, by what they take most of: "dominant resource fairness" (Ghodsi et al., NSDI
/// 2011). On "local", which has no nodes, a job's share is one slot. 1: all of it.
double dominant_share(const Rules& rules, std::int64_t nodes, const Resources& machine);

}  // namespace lathe::compute
