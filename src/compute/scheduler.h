#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compute/events.h"
#include "compute/ledger.h"

/// Who runs where on this machine: a state machine without clock or I/O. Each event gives the decisions to carry out.
///
/// A cluster's nodes are slices of the machine. A job takes as many nodes of one
/// cluster as it asks for, all at once. A cluster grows for what waits, up to its maximum and
/// to what is free; nodes that have been idle for the cluster's idle time leave, never below its minimum, and sooner
/// when another cluster's job needs the room. Jobs of one cluster start in the order in which they came.
namespace lathe::compute {

struct NodeView {
  std::string name;
  std::optional<std::string> job;  ///< none: idle
  Time since{};                    ///< of this state
  std::vector<int> gpus;           ///< the machine's numbers of those that it has, or shares
  Resources has;                   ///< what it took of the machine
};

class Scheduler {
 public:
  explicit Scheduler(const Resources& machine);

  std::vector<Decision> apply(const Event& event, Time now);

  /// When an idle node's time is up: send a Tick then. nullopt: nothing will change by itself.
  std::optional<Time> next_change() const;

  std::vector<NodeView> nodes(const std::string& target) const;
  std::size_t waiting(const std::string& target) const;
  std::size_t running(const std::string& target) const;
  /// One sentence on what a queued job waits for; empty when it does not wait.
  std::string waiting_for(const std::string& job) const;
  Resources free() const { return ledger_.free(); }

 private:
  struct Target {
    Rules rules;
    std::map<std::string, NodeView> nodes;
    struct Waiting {
      std::string job;
      std::int64_t nodes;
    };
    std::deque<Waiting> queue;
    std::map<std::string, std::vector<std::string>> running;  ///< job -> its nodes
    std::int64_t next_number = 0;
  };

  void balance(Time now, std::vector<Decision>& out);
  /// Why an idle node cannot stay: it is too many, of another size than its cluster's, or on a GPU that others use.
  std::string unfit(const Target& target, const NodeView& node) const;
  void drop_unfit(Target& target, std::vector<Decision>& out);
  void start_held(Target& target, Time now, std::vector<Decision>& out);
  void place_waiting(Target& target, Time now, std::vector<Decision>& out);
  /// Idle nodes for a job that asks for `count`, after starting what is missing: all of them or none.
  std::vector<std::string> take_nodes(Target& target, std::int64_t count, Time now, std::vector<Decision>& out);
  void start_node(Target& target, Time now, std::vector<Decision>& out);
  bool make_room(const Target& wanting, std::int64_t count, std::vector<Decision>& out);
  void drop_node(Target& target, const std::string& node, std::string why, std::vector<Decision>& out);

  Ledger ledger_;
  std::map<std::string, Target> targets_;
  std::map<std::string, std::string> target_of_;  ///< job -> target
};

}  // namespace lathe::compute
