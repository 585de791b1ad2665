#pragma once

#include <optional>
#include <string>

#include "compute/record.h"

/// Recorded events played again, and loads made up: what would another policy, or another number of nodes, have done?
namespace lathe::compute {

/// What jobs went through.
struct Figures {
  std::size_t jobs = 0;           ///< that started
  std::size_t left_waiting = 0;   ///< that came and never started
  double mean_wait_s = 0;
  double median_wait_s = 0;
  double p95_wait_s = 0;
  double longest_wait_s = 0;
  double utilisation = 0;         ///< how much of the machine jobs had, on average, from the first arrival to the last end
  double span_s = 0;
  std::size_t preemptions = 0;
};

/// How many of the recorded decisions this program would take otherwise, given the same events: 0, for the program that
/// recorded them.
std::size_t differences(const Recording& recording);

/// As it was.
Figures as_recorded(const Recording& recording);

/// As it would have been: jobs come when they came and run as long as they ran, in all, and start when `policy` lets them.
/// What never ran is left out. A target that is deleted keeps no nodes from then on. `nodes`: each cluster may have so many, and the machine has room for all of them.
Figures as_replayed(const Recording& recording, const Policy& policy, std::optional<std::int64_t> nodes);

/// A load that is made up.
struct Load {
  std::int64_t nodes = 1000;
  std::int64_t jobs = 10'000;
  std::int64_t users = 100;
  std::int64_t widest = 64;     ///< most nodes of a job; half of the jobs take one
  std::uint64_t seed = 1;
  bool at_once = true;          ///< all jobs are queued before the first one ends
};
struct Simulated {
  Figures figures;
  std::size_t events = 0;
  double mean_us = 0;           ///< of CPU time, for each event
  double queue_us = 0;          ///< the same for arrivals
  double end_us = 0;            ///< the same for ends, which start others
  double longest_us = 0;        ///< of wall time
  std::int64_t memory_bytes = 0;  ///< of this process, with everything in the queue
};
Simulated simulate(const Load& load, const Policy& policy);

}  // namespace lathe::compute
