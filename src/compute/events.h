#pragma once

#include <chrono>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "compute/machine.h"

/// What the scheduler is told and what it decides: plain values, so that they can be written down and played again.
namespace lathe::compute {

/// What the scheduler knows of a compute target.
struct Rules {
  std::string name;
  bool local = false;  ///< no nodes: `slots` jobs at once, on the machine as it is
  Resources node;
  std::int64_t min_nodes = 0;
  std::int64_t max_nodes = 1;
  std::int64_t slots = 0;
  std::chrono::seconds idle{120};
  /// Its nodes are what a person or a service keeps (a compute instance, a deployment): they come before jobs' nodes.
  bool holds = false;
};

/// What a job asks of its target.
struct Need {
  std::int64_t nodes = 1;  ///< all at once or none
};

/// A node that a job has: on "local" it is "local".
struct NodeGiven {
  std::string name;
  std::vector<int> gpus;  ///< the machine's numbers of those that are the node's own
  bool operator==(const NodeGiven&) const = default;
};

struct TargetPut {
  Rules rules;
};  ///< made, or changed
struct TargetGone {
  std::string name;
};  ///< only without jobs
struct JobQueued {
  std::string job;
  std::string target;
  Need need;
};
/// It runs already, after a restart.
struct JobFound {
  std::string job;
  std::string target;
  Need need;
  std::vector<NodeGiven> nodes;
};
struct JobGone {
  std::string job;
};               ///< ended, or no longer waiting
/// Used by processes outside: not given out.
struct GpusBusy {
  std::set<int> gpus;
};
struct Tick {};  ///< time has passed
using Event = std::variant<TargetPut, TargetGone, JobQueued, JobFound, JobGone, GpusBusy, Tick>;

struct NodeStarted {
  std::string target;
  std::string node;
};
struct NodeLeft {
  std::string target;
  std::string node;
  std::string why;
};
struct JobPlaced {
  std::string job;
  std::string target;
  std::vector<NodeGiven> nodes;
};
using Decision = std::variant<NodeStarted, NodeLeft, JobPlaced>;

}  // namespace lathe::compute
