#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "compute/events.h"
#include "compute/fair_share.h"
#include "compute/ledger.h"
#include "compute/line.h"

/// Who runs where on this machine: a state machine without clock or I/O. Each event gives the decisions to carry out.
///
/// A cluster's nodes are slices of the machine. A job takes as many nodes of one cluster as it asks for, all at once. A
/// cluster grows for what can start, up to its maximum and to what is free; nodes that have been idle for the cluster's idle
/// time leave, never below its minimum, and sooner when another cluster's job needs the room.
///
/// Order: tier, priority, then the user who has used less (fair_share.h), then the order of submission. What is first in line
/// on its target and cannot start has a reservation: later jobs start only if they do not delay it ("EASY" backfill: Lifka,
/// "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001), reckoning with the longest time
/// that each job may run. A job without a time limit is reckoned to run for ever.
namespace lathe::compute {

struct NodeView {
  std::string name;
  std::optional<std::string> job;  ///< none: idle
  Time since{};                    ///< of this state
  std::vector<int> gpus;           ///< the machine's numbers of those that it has, or shares
  Resources has;                   ///< what it took of the machine
  bool leaving = false;            ///< its job is giving way
};

/// What a waiting job waits for.
struct Why {
  std::string reason;                 ///< "waits for a node of c: all 2 that it may have are busy"
  std::int64_t place = 0;             ///< in its target's line; 1: first. 0: not in line (a quota, or a pause)
  std::optional<Time> start;          ///< when it is expected to start
  std::string basis;                  ///< of that: "their time limits", "the median of the last 20 run times, 35 s"; or why there is none
  std::string remedy;                 ///< what would let it start sooner
  /// All of it in one sentence.
  std::string sentence(Time now) const;
};

/// All that the scheduler knows, as values: what was recorded begins with one.
struct Snapshot;

class Scheduler {
 public:
  explicit Scheduler(const Resources& machine, Policy policy = {});
  static Scheduler restore(const Snapshot& snapshot);
  Snapshot snapshot(Time now) const;

  Scheduler(Scheduler&&) = default;

  std::vector<Decision> apply(const Event& event, Time now);

  /// When something will change by itself (an idle node's time is up, a pause is over): send a Tick then.
  std::optional<Time> next_change() const;

  std::vector<NodeView> nodes(const std::string& target) const;
  std::size_t waiting(const std::string& target) const;
  std::size_t running(const std::string& target) const;
  /// What a queued job waits for and its place, in a few words; empty when it does not wait. O(log n).
  std::string waiting_for(const std::string& job) const;
  /// The same with an estimate. O(n log n) in the jobs before it. nullopt: it does not wait.
  std::optional<Why> why(const std::string& job, Time now) const;
  /// Why such a job could never start there, as its target and quotas are now; empty when it could.
  std::string impossible(const std::string& target, const Need& need) const;
  Resources free() const { return ledger_.free(); }
  const Resources& machine() const { return machine_; }

 private:
  struct Target;
  struct Node {
    std::int64_t number = 0;
    std::string name;
    Job* job = nullptr;
    Time since{};
    std::vector<int> gpus;
    Resources has;
  };
  struct Target {
    Rules rules;
    std::map<std::int64_t, Node> nodes;
    std::set<std::int64_t> idle;
    std::set<std::pair<Time, std::int64_t>> idle_since;
    std::int64_t next_number = 0;
    TargetLine line;
    std::size_t waiting = 0;
    std::size_t running = 0;
    std::map<User*, std::int64_t> held_by;  ///< only looked up: nodes by user
    std::deque<std::chrono::microseconds> run_times;  ///< of jobs that ended, newest last
    bool keeps_idle = false;  ///< its first in line waits for more nodes than are idle

    std::int64_t size() const { return static_cast<std::int64_t>(nodes.size()); }
    std::int64_t idle_count() const { return static_cast<std::int64_t>(idle.size()); }
    /// How many idle nodes may leave.
    std::int64_t spare() const { return std::max<std::int64_t>(std::min(idle_count(), size() - rules.min_nodes), 0); }
  };
  /// The claim of a job that is first in line and cannot start.
  struct Reservation {
    explicit Reservation(const Job& of) : job(&of) {}
    const Job* job;
    bool hopeless = false;  ///< nothing that jobs do will let it start: it holds up nobody
    bool reckoned = false;
    std::optional<Time> start;  ///< none: there is no bound
    std::int64_t idle = 0;      ///< of its target, then
    std::int64_t size = 0;
    std::optional<Ledger> room;  ///< of the machine, then
  };
  using Turn = std::tuple<Time, std::int64_t, Job*>;  ///< a time, the order of starting

  void handle(const Event& event, Time now, std::vector<Decision>& out);
  void gone(const std::string& job, Outcome outcome, Time now, std::vector<Decision>& out);
  void found(const JobFound& event, Time now);
  void balance(Time now, std::vector<Decision>& out);

  // Jobs: scheduler.cc
  Job* add_job(const std::string& name, const std::string& target, const Need& need);
  void enter_line(Job& job);
  void pause(Job& job, Time until);
  bool barred(const Job& job) const;
  void look_at_bars();
  void begin(Job& job, Time since);
  void finish(Job& job, Outcome outcome, Time now);
  void charge_running(Time now);
  void refresh_user(User& user);
  bool within_quota(const Job& job) const;
  std::int64_t quota_of(const std::string& user) const;
  std::int64_t share_of(const Target& target, std::int64_t nodes) const;
  User& user_of(const std::string& name);
  Target& target_of(const Job& job) { return targets_.at(job.target); }
  const Target& target_of(const Job& job) const { return targets_.at(job.target); }

  // Nodes: scheduler_nodes.cc
  Node& add_node(Target& target, std::string name, Time now);
  void start_node(Target& target, Time now, std::vector<Decision>& out);
  void drop_node(Target& target, std::int64_t number, std::string why, std::vector<Decision>& out);
  void set_idle(Target& target, Node& node, Time since);
  void occupy(Target& target, Node& node, Job& job, Time since);
  std::string unfit(const Target& target, const Node& node) const;
  void drop_unfit(Target& target, std::vector<Decision>& out);
  void resize(Target& target, Node& node, std::vector<Decision>& out);
  void keep_sizes(Target& target, Time now, std::vector<Decision>& out);
  bool can_make_room(const Target& wanting, std::int64_t count) const;
  bool make_room(const Target& wanting, std::int64_t count, std::vector<Decision>& out);
  std::vector<std::pair<Target*, std::int64_t>> spare_nodes(const Target& wanting) const;

  // Order: scheduler_order.cc
  bool fits(const Job& job) const;
  static std::int64_t kept_nodes(const Target& target);
  Ledger beside_kept() const;
  bool hopeless(const Job& job, Ledger beside_kept) const;
  void place(Job& job, Time now, std::vector<Decision>& out);
  void place_in_order(Time now, std::vector<Reservation>& blocked, std::vector<Decision>& out);
  void backfill(Time now, std::vector<Reservation>& blocked, std::vector<Decision>& out);
  void reckon(Reservation& reservation, Time now) const;
  bool respects(std::vector<Reservation>& blocked, const Job& job, Time now) const;
  void preempt(const Reservation& reservation, Time now, std::vector<Decision>& out);
  void ask_to_leave(Job& job, Time by);
  static bool gives_way(const Job& job);
  bool enough_without(const Job& job, const std::vector<Job*>& leaving) const;

  // Words: why.cc
  std::string reason(const Job& job) const;
  std::string remedy(const Job& job, Time now) const;
  void estimate(const Job& job, Time now, Why& why) const;
  std::int64_t place_of(const Job& job) const;
  /// Those that run there, by their start.
  std::map<std::int64_t, const Job*> jobs_in(const Target& target) const;

  Resources machine_;
  Policy policy_;
  Ledger ledger_;
  FairShare share_;
  std::map<std::string, Target> targets_;
  std::map<std::string, User> users_;
  std::map<std::string, std::int64_t> quotas_;
  std::set<int> busy_gpus_;
  std::map<std::string, Job> jobs_;
  std::set<Turn> paused_;       ///< waiting, not before a time; Time::max(): barred
  std::set<Turn> ends_;         ///< running, by the latest time of their end
  std::set<Turn> charges_;      ///< running, by the time up to which their use is charged
  std::set<Turn> giving_way_;   ///< running and not asked to end yet, by their start: those that would give way
  std::set<Turn> leaving_;      ///< asked to end
  std::int64_t last_arrival_ = 0;
  std::int64_t last_start_ = 0;
};

struct Snapshot {
  struct Waiting { std::string job; std::string target; Need need; Time not_before{}; };
  struct Running { std::string job; std::string target; Need need; std::vector<NodeGiven> nodes; Time since{}; Time leave_by{}; };
  struct Idle { std::string name; std::vector<int> gpus; Time since{}; };
  struct Of { Rules rules; std::int64_t next_number = 0; std::vector<Idle> idle; std::vector<std::chrono::microseconds> run_times; };
  Time at{};
  Resources machine;
  Policy policy;
  std::int64_t period = -1;
  std::map<std::string, std::int64_t> used;  ///< by user
  std::map<std::string, std::int64_t> quotas;
  std::set<int> busy_gpus;
  std::vector<Of> targets;
  std::vector<Running> running;
  std::vector<Waiting> waiting;
};

}  // namespace lathe::compute
