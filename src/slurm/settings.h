#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "compute/engine.h"

namespace lathe::slurm {

/// How this server reaches Slurm: the same for all its targets.
struct Settings {
  std::vector<std::string> command;  ///< in front of each of Slurm's commands: {}, {"ssh", "login"}, ...
  /// By a job's tier (spot, ...) and priority (low, ...): what is added to its nice value, and in which QOS it runs.
  std::map<std::string, std::int64_t> nice;
  std::map<std::string, std::string> qos;
  bool as_user = false;                  ///< submit as the account named like the user, by sudo, where that is allowed
  std::chrono::milliseconds poll{3000};  ///< between looks at the queue
  std::chrono::milliseconds limit{20'000};  ///< for each command
};

using compute::Partition;

}  // namespace lathe::slurm
