#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compute/engine.h"
#include "compute/gpu_use.h"
#include "compute/gpus.h"
#include "compute/scheduler.h"
#include "compute/targets.h"
#include "db/db.h"
#include "http/http.h"

/// Compute targets: where jobs run, and which of them runs where.
namespace lathe::compute {

struct NodeAnswer {
  std::string name;
  std::string state;  ///< idle, running, leaving
  std::optional<std::string> job;
  std::string since;
  std::vector<std::int64_t> gpus;
};

struct TargetAnswer {
  std::string name;
  std::string type;
  std::optional<std::string> size;
  std::string node;  ///< what a node has, in words
  std::optional<std::string> tier;
  std::int64_t min_instances = 0;
  std::int64_t max_instances = 0;
  std::int64_t idle_time_before_scale_down = 0;
  std::optional<std::int64_t> max_instances_per_user;
  std::string provisioning_state = "Succeeded";
  std::optional<std::string> state;
  std::optional<std::string> waiting_for;
  std::optional<std::string> idle_time_before_shutdown;
  std::optional<std::int64_t> idle_time_before_shutdown_minutes;
  std::optional<json::Value> schedules;
  std::optional<LastOperation> last_operation;
  std::int64_t current_node_count = 0;
  std::map<std::string, std::int64_t> node_state_counts;
  std::vector<NodeAnswer> nodes;
  std::int64_t queued_jobs = 0;
  std::int64_t running_jobs = 0;
  std::vector<std::string> recent;  ///< what its nodes did and why, newest last
  std::string description;
  std::optional<Partition> slurm;
  std::optional<std::string> trouble;
  std::map<std::string, std::string> tags;
  std::optional<std::map<std::string, std::string>> creation_context;
  std::optional<json::Report> report;
};

/// Who has how much of one kind of resource.
struct UsageAnswer {
  std::string name;  ///< cores, memory, gpus
  std::string unit;
  double current_value = 0;
  double limit = 0;
  std::map<std::string, double> holders;  ///< "cluster cpu", "deployment churn/blue"
};

struct GpuAnswer {
  std::int64_t number = 0;
  std::string uuid;
  std::string name;
  double memory_gib = 0;
  bool mig = false;
  std::string state;  ///< free, held, outside
  std::vector<std::string> holders;
  std::vector<std::int64_t> outside;  ///< processes
};

/// A deployment's wish: `count` instances of the size `type`.
struct Reservation {
  std::string holder;  ///< "churn/blue"
  std::string type;
  std::int64_t count = 1;
};

/// What one instance of a deployment sees of this machine's GPUs.
struct GpuView {
  std::vector<int> numbers;
  std::vector<std::pair<std::string, std::string>> variables;  ///< as a job's of such a node
  std::vector<int> hidden;                                     ///< minor numbers of the other GPUs' device files
  bool operator==(const GpuView&) const = default;
};

/// The owner of all processes of deployments' workers: together they hold what deployments hold.
constexpr auto kDeployments = "the deployments";

class Recorder;

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
  struct Calls {
    Placed placed;
    /// The job should end within kGrace, be reported as gone, and be queued again: `winner` needs its nodes.
    std::function<void(const std::string& job, const std::string& winner)> give_way;
    /// Ends a running job, which has failed then for the reason that `why` says; without one it was canceled.
    std::function<void(const std::string& job, const std::string& why)> end;
    /// How many jobs wait for a target, whether they are in its line yet or not.
    std::function<std::size_t(const std::string& target)> jobs_for;
    /// The job to which a process of this machine belongs, `kDeployments`, or none.
    std::function<std::optional<std::string>(int pid)> owner;
  };

  /// Reads the targets from the store. Nothing is scheduled before `start`. `gpus` outlives it.
  static Result<std::unique_ptr<Compute>> open(db::Database& db, Sizes sizes, const Gpus& gpus, Policy policy = {});
  ~Compute();

  /// Begins to place jobs: `found` and `ran` first, for what runs already and what ran before. Looks who uses the GPUs before, and then every second.
  void start(Calls calls);
  /// No job is placed any more when this has returned, but for one that another thread is placing now.
  void stop();

  /// False: there is no such target any more.
  [[nodiscard]] bool queue(const std::string& job, const std::string& target, const Need& need, Time not_before = {});
  /// Before the start.
  void found(const std::string& job, const std::string& target, const Need& need, const std::vector<NodeGiven>& nodes,
             Time since);
  void ran(const std::string& target, const Need& need, Time from, Time to);
  void gone(const std::string& job, Outcome outcome = Outcome::ended);
  /// Writes what the scheduler is told and decides into `folder`, from now on (record.h).
  Result<void> record_in(const std::filesystem::path& folder);
  void set_quotas(const std::map<std::string, std::int64_t>& nodes);
  std::optional<Why> why(const std::string& job) const;
  /// Errors: `invalid` — such a job could never start there, with the reason.
  Result<void> check_possible(const std::string& target, const Need& need) const;
  std::string waiting_for(const std::string& job) const;

  /// Lets `engine`, which outlives this, show the nodes of its targets. Before `start`.
  void connect(Engine& engine) { engine_ = &engine; }
  /// Whether an engine runs the target's jobs; the other functions for jobs are not for those.
  bool is_remote(const std::string& target) const { return partition_of(target).has_value(); }
  /// Where; nullopt: they run on this machine, or there is no such target.
  std::optional<Partition> partition_of(const std::string& target) const;

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
  std::vector<Size> list_sizes() const { return sizes_.list(); }

  /// Errors: `conflict` — it is no compute instance. A start that finds no room waits for it.
  enum class Operation { start, stop, restart };
  Result<TargetAnswer> operate(const std::string& name, Operation operation);

  /// GPUs that processes of deployments have, or may have, by holder.
  using GpusUsed = std::map<std::string, std::vector<int>>;
  /// All deployments that reserve something, whenever one has changed; what is not among them is given back, but with a
  /// GPU that is `used` only when that is over. Before the start, `used` are those that a holder had and gets again.
  void reserve(const std::vector<Reservation>& all, const GpusUsed& used);
  /// What each instance of a deployment sees; nullopt: it waits for GPUs. None: there are no GPUs here.
  std::optional<std::vector<GpuView>> gpus_of(const std::string& holder) const;
  /// `wake` is called whenever the answer of `gpus_of` has changed by itself. It must not call back.
  void on_gpus_of_changed(std::function<void()> wake);
  /// What a deployment holds, or waits for, in words; empty when it reserves nothing.
  std::string reserved(const std::string& holder) const;
  /// What a deployment of this size would get. Errors: `invalid` — it can never be.
  Result<json::Report> check_reservation(const Reservation& wish) const;

  std::vector<UsageAnswer> usage() const;
  std::vector<GpuAnswer> gpus() const;
  const Gpus& inventory() const { return gpus_; }

 private:
  struct Known {
    Target target;
    Rules rules;
    std::deque<std::string> recent;
    bool restarting = false;
  };
  struct Reserved {
    Reservation wish;
    Resources each;  ///< of an instance, as its size says
    Rules rules;

    bool has_gpus() const { return rules.node.gpus + rules.node.gpu_share > 0; }
  };
  Compute(db::Database& db, Sizes sizes, const Gpus& gpus, Policy policy);
  /// What the scheduler decides, recorded.
  std::vector<Decision> decide(const Event& event);
  /// Decides and carries out; before the start, at the start.
  void apply(std::unique_lock<std::mutex>& lock, const Event& event);
  struct Start {
    std::string job;
    Place place;
  };
  void carry_out(std::unique_lock<std::mutex>& lock, const std::vector<Decision>& decisions);
  void hand_out(std::unique_lock<std::mutex>& lock);
  void keep_time();
  TargetAnswer answer(const Known& known) const;
  /// Adds what the engine knows of the target; not under the lock, since it may wait a moment for the engine.
  TargetAnswer with_nodes(TargetAnswer answer) const;
  Result<const Known*> find(const std::string& name) const;
  Result<Known*> find_instance(const std::string& name);
  /// What the scheduler should know before jobs: deployments and instances come first.
  void put_all(std::unique_lock<std::mutex>& lock);
  Result<Rules> rules_for(const Target& target) const;

  /// The GPUs that it has; nullopt: it waits for some of what it wants.
  std::optional<std::vector<int>> numbers_of(const Reserved& reserved) const;
  std::vector<int> held_by(const Reserved& reserved) const;
  void keep_used(const std::map<std::string, Reserved>& before, const GpusUsed& used);
  void note_gpus();

  /// What instances and deployments keep from clusters of elastic sizes; and these clusters' nodes adapted to it.
  Resources reserved_total() const;
  void adapt_clusters(std::unique_lock<std::mutex>& lock);

  std::string state_of(const Known& known) const;
  std::optional<Time> idle_since(const Known& known) const;
  std::optional<Time> next_instance_change() const;
  /// Does what schedules and idle times ask for. Neither lock is held.
  void keep_instances();
  /// Starts or stops it, and writes that down. `acted`: up to when its schedules are done. Needs `changing_` alone.
  Result<void> change_instance(const std::string& name, Operation operation, const std::string& trigger, std::optional<Time> acted);
  void put_instance(std::unique_lock<std::mutex>& lock, const std::string& name);
  void go_on_restarting(std::unique_lock<std::mutex>& lock);

  void watch_gpus();
  void look_at_gpus();
  GpuHolds gpu_holds() const;

  db::Database& db_;
  Sizes sizes_;
  const Gpus& gpus_;
  std::mutex changing_;  ///< one change of a target at a time, to the store and here; taken before the other
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false;
  bool stopping_ = false;
  Scheduler scheduler_;
  std::unique_ptr<Recorder> recorder_;  ///< none: nothing is recorded
  std::vector<Event> early_;  ///< what came before the start: it has its turn after all that was found
  std::map<std::string, Known> targets_;
  std::map<std::string, Reserved> reserved_;  ///< by holder
  std::map<std::string, std::optional<std::vector<int>>> noted_;  ///< GPUs of these, when that was looked at last
  std::function<void()> gpus_changed_;
  std::map<int, std::vector<int>> foreign_;   ///< GPUs that others use, and their processes
  std::map<int, std::set<int>> seen_;         ///< what the last look found foreign
  bool looked_ = false;
  bool gpus_unknown_ = false;  ///< of the thread that looks
  std::condition_variable gpu_pause_;
  std::set<std::string> ended_;               ///< jobs that had too much of a GPU
  Calls calls_;
  Engine* engine_ = nullptr;  ///< none: all targets are of this machine
  std::vector<Start> starts_;  ///< decided, not handed out yet
  std::vector<JobPreempted> leaves_;
  std::optional<Time> retry_;  ///< when the store did not take an instance's change
  std::thread timer_;
  std::thread gpu_watch_;
};

void add_routes(http::Router& router, Compute& compute);

}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::NodeAnswer> {
  static constexpr std::string_view name = "Node";
  static constexpr auto list = std::tuple{field("name", &compute::NodeAnswer::name),
                                          field("state", &compute::NodeAnswer::state, "idle, running, preparing, leaving, unusable; off: without power, started when it is needed"),
                                          field("job", &compute::NodeAnswer::job), field("since", &compute::NodeAnswer::since),
                                          field("gpus", &compute::NodeAnswer::gpus, "numbers, as list-gpus has them")};
};

template <>
struct Fields<compute::TargetAnswer> {
  static constexpr std::string_view name = "Compute";
  using T = compute::TargetAnswer;
  static constexpr auto list = std::tuple{
      field("name", &T::name), field("type", &T::type, "amlcompute, computeinstance, slurm or local"), field("size", &T::size),
      field("node", &T::node, "what a node has here"), field("tier", &T::tier, "dedicated or low_priority"), field("min_instances", &T::min_instances), field("max_instances", &T::max_instances),
      field("idle_time_before_scale_down", &T::idle_time_before_scale_down, "seconds"),
      field("max_instances_per_user", &T::max_instances_per_user, "how many nodes one user's jobs may have at once"), field("provisioning_state", &T::provisioning_state),
      field("state", &T::state, "of an instance: Running, Stopped, Starting, Stopping, Restarting"),
      field("waiting_for", &T::waiting_for, "while an instance that was started has no room"),
      field("idle_time_before_shutdown", &T::idle_time_before_shutdown, "ISO 8601 duration"),
      field("idle_time_before_shutdown_minutes", &T::idle_time_before_shutdown_minutes), field("schedules", &T::schedules),
      field("last_operation", &T::last_operation),
      field("current_node_count", &T::current_node_count), field("node_state_counts", &T::node_state_counts), field("nodes", &T::nodes),
      field("queued_jobs", &T::queued_jobs), field("running_jobs", &T::running_jobs),
      field("recent", &T::recent, "what its nodes did and why, newest last"), field("description", &T::description), field("slurm", &T::slurm, "where in the Slurm cluster its jobs go"),
      field("trouble", &T::trouble, "why what is shown may be old, or what it lacks"), field("tags", &T::tags),
      field("creation_context", &T::creation_context), field("report", &T::report, "fields that were not plainly honoured")};
};

template <>
struct Fields<compute::UsageAnswer> {
  static constexpr std::string_view name = "ComputeUsage";
  using T = compute::UsageAnswer;
  static constexpr auto list = std::tuple{field("name", &T::name, "cores, memory or gpus"), field("unit", &T::unit),
                                          field("current_value", &T::current_value), field("limit", &T::limit),
                                          field("holders", &T::holders, "who has how much")};
};
template <>
struct Fields<compute::GpuAnswer> {
  static constexpr std::string_view name = "Gpu";
  using T = compute::GpuAnswer;
  static constexpr auto list = std::tuple{field("number", &T::number), field("uuid", &T::uuid), field("name", &T::name),
                                          field("memory_gib", &T::memory_gib, "0: unknown"), field("mig", &T::mig, "an instance of a GPU that is split"),
                                          field("state", &T::state, "free, held, or outside: used by processes that do not hold it"),
                                          field("holders", &T::holders), field("outside", &T::outside, "numbers of those processes")};
};

}  // namespace lathe::json
