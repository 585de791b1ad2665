#pragma once

#include <chrono>
#include <map>
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
  /// Its nodes are in use without a job (a deployment's workers): they grow and shrink where they are, and do not leave
  /// their GPUs to others.
  bool works = false;
  std::vector<int> gpus;  ///< that a node takes before others, where it can: those that it had before a restart
  std::int64_t max_nodes_per_user = -1;  ///< how many of its nodes one user's jobs may have at once; -1: any number
  bool operator==(const Rules&) const = default;
};

/// Azure's `queue_settings.job_tier`, the lowest first. A spot job gives way to others.
enum class Tier { spot, basic, standard, premium };
/// Azure's `queue_settings.priority`, the lowest first.
enum class Priority { low, medium, high };

/// What a job asks of its target.
struct Need {
  std::int64_t nodes = 1;  ///< all at once or none
  std::string user;
  Tier tier = Tier::standard;
  Priority priority = Priority::medium;
  std::chrono::seconds limit{0};  ///< the longest that it may run; zero: no limit
  std::int64_t number = 0;        ///< its place in the order of submission, which it keeps over attempts; 0: the last
};

/// A node that a job has: on "local" it is "local".
struct NodeGiven {
  std::string name;
  std::vector<int> gpus;  ///< the machine's numbers of those that are the node's own
  bool operator==(const NodeGiven&) const = default;
};

/// How a job's stay in the queue or on its nodes was over.
enum class Outcome { ended, preempted, node_lost };

struct TargetPut { Rules rules; };        ///< made, or changed
struct TargetGone { std::string name; };  ///< only without jobs
/// `not_before`: it is not started earlier, after a node was lost.
struct JobQueued { std::string job; std::string target; Need need; Time not_before{}; };
/// It runs already, since `since`: after a restart.
struct JobFound { std::string job; std::string target; Need need; std::vector<NodeGiven> nodes; Time since{}; };
/// All that is there after a restart, before anything is decided.
struct Resumed { std::vector<Rules> targets; std::vector<JobFound> jobs; };
/// It has ended, waits no longer, or is about to be queued again.
struct JobGone { std::string job; Outcome outcome = Outcome::ended; };
/// It ran before this scheduler was there: that counts as its user's use, and as an example of how long jobs run.
struct JobRan { std::string target; Need need; Time from{}; Time to{}; };
/// How many nodes each user's jobs may have at once, on all targets together; "*" stands for users not named.
struct QuotasPut { std::map<std::string, std::int64_t> nodes; };
struct GpusBusy { std::set<int> gpus; };  ///< used by processes outside: not given out
struct Tick {};                           ///< time has passed
using Event = std::variant<TargetPut, TargetGone, JobQueued, JobFound, Resumed, JobGone, JobRan, QuotasPut, GpusBusy, Tick>;

struct NodeStarted { std::string target; std::string node; };
struct NodeLeft { std::string target; std::string node; std::string why; };
struct JobPlaced { std::string job; std::string target; std::vector<NodeGiven> nodes; };
/// It should end within kGrace and be queued again, since `winner` needs its nodes.
struct JobPreempted { std::string job; std::string target; std::string winner; };
using Decision = std::variant<NodeStarted, NodeLeft, JobPlaced, JobPreempted>;

/// How long a job has between the request to give way and its end by force.
constexpr std::chrono::seconds kGrace{10};

/// Which job comes first.
struct Policy {
  bool tiers = true;     ///< tiers and priorities count
  bool fair = true;      ///< of equal ones, the user who has used less comes first; else the order of submission
  bool backfill = true;  ///< a later job may start if that does not delay the first in line
  bool preempt = true;   ///< spot jobs give way
  std::chrono::seconds half_life{86'400};  ///< after it, what a user has used counts half
};

}  // namespace lathe::compute
