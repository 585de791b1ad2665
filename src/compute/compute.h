#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compute/scheduler.h"
#include "compute/targets.h"
#include "db/db.h"
#include "http/http.h"

/// Compute targets: where jobs run, and which of them runs where.
namespace lathe::compute {

struct NodeAnswer {
  std::string name;
  std::string state;  ///< idle, running
  std::optional<std::string> job;
  std::string since;
};

struct TargetAnswer {
  std::string name;
  std::string type;
  std::optional<std::string> size;
  std::string node;  ///< what a node has, in words
  std::int64_t min_instances = 0;
  std::int64_t max_instances = 0;
  std::int64_t idle_time_before_scale_down = 0;
  std::string provisioning_state = "Succeeded";
  std::int64_t current_node_count = 0;
  std::map<std::string, std::int64_t> node_state_counts;
  std::vector<NodeAnswer> nodes;
  std::int64_t queued_jobs = 0;
  std::int64_t running_jobs = 0;
  std::vector<std::string> recent;  ///< what its nodes did and why, newest last
  std::string description;
  std::map<std::string, std::string> tags;
  std::optional<std::map<std::string, std::string>> creation_context;
  std::optional<json::Report> report;
};

/// All targets and the scheduler over them. Thread-safe.
class Compute {
 public:
  /// Where a job may start now.
  struct Place {
    std::vector<NodeGiven> nodes;  ///< as many as it asked for
    Resources room;                ///< of each node; zero on "local", which has no limits
  };
  /// Called without a lock held, on the thread that
  /// brought the event about or on the timer's.
  using Placed = std::function<void(const std::string& job, const Place& place)>;

  /// Reads the targets from the store. Nothing is scheduled before `start`.
  static Result<std::unique_ptr<Compute>> open(db::Database& db, const Resources& machine);
  ~Compute();

  /// Begins to place jobs: `found` first, for what runs already.
  void start(Placed placed);
  /// No job is placed any more when this has returned, but for one that another thread is placing now.
  void stop();

  void queue(const std::string& job, const std::string& target, const Need& need);
  void found(const std::string& job, const std::string& target, const Need& need, const std::vector<NodeGiven>& nodes);
  void gone(const std::string& job);
  std::string waiting_for(const std::string& job) const;

  /// Errors: `not_found`, naming the nearest.
  Result<void> check_target(const std::string& name) const;
  /// The machine's cores, or the node's: what a job there may count on.
  Result<Resources> room_of(const std::string& target) const;

  Result<TargetAnswer> create(const json::Object& document, bool strict, const std::string& user);
  Result<TargetAnswer> update(const std::string& name, const json::Object& document);
  Result<TargetAnswer> show(const std::string& name) const;
  std::vector<TargetAnswer> list() const;
  /// Errors: `conflict` — jobs run or wait there.
  Result<void> remove(const std::string& name);
  std::vector<Size> list_sizes() const { return sizes(machine_); }

 private:
  struct Known {
    Target target;
    Rules rules;
    std::deque<std::string> recent;
  };
  Compute(db::Database& db, const Resources& machine) : db_(db), machine_(machine), scheduler_(machine) {}
  void apply(const Event& event);
  struct Start {
    std::string job;
    Place place;
  };
  void carry_out(std::unique_lock<std::mutex>& lock, const std::vector<Decision>& decisions);
  void hand_out(std::unique_lock<std::mutex>& lock);
  void keep_time();
  TargetAnswer answer(const Known& known) const;
  Result<const Known*> find(const std::string& name) const;

  db::Database& db_;
  Resources machine_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  Scheduler scheduler_;
  std::map<std::string, Known> targets_;
  Placed placed_;
  std::vector<Start> starts_;  ///< decided, not handed out yet
  std::thread timer_;
};

void add_routes(http::Router& router, Compute& compute);

}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::NodeAnswer> {
  static constexpr std::string_view name = "Node";
  static constexpr auto list = std::tuple{field("name", &compute::NodeAnswer::name), field("state", &compute::NodeAnswer::state, "idle or running"),
                                          field("job", &compute::NodeAnswer::job), field("since", &compute::NodeAnswer::since)};
};

template <>
struct Fields<compute::TargetAnswer> {
  static constexpr std::string_view name = "Compute";
  using T = compute::TargetAnswer;
  static constexpr auto list = std::tuple{
      field("name", &T::name), field("type", &T::type, "amlcompute or local"), field("size", &T::size),
      field("node", &T::node, "what a node has here"), field("min_instances", &T::min_instances), field("max_instances", &T::max_instances),
      field("idle_time_before_scale_down", &T::idle_time_before_scale_down, "seconds"), field("provisioning_state", &T::provisioning_state),
      field("current_node_count", &T::current_node_count), field("node_state_counts", &T::node_state_counts), field("nodes", &T::nodes),
      field("queued_jobs", &T::queued_jobs), field("running_jobs", &T::running_jobs),
      field("recent", &T::recent, "what its nodes did and why, newest last"), field("description", &T::description), field("tags", &T::tags),
      field("creation_context", &T::creation_context), field("report", &T::report, "fields that were not plainly honoured")};
};

}  // namespace lathe::json
