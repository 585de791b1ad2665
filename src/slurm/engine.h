#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "compute/engine.h"
#include "slurm/commands.h"

namespace lathe::slurm {

/// Slurm as an engine. One thread looks at the whole queue every few seconds, never at one job; others run sbatch. What
/// is ours is known by the attempt's id in the job's comment; Slurm's number is only where to send a scancel.
class SlurmEngine final : public compute::Engine {
 public:
  /// `partition_of(target)`: where in Slurm the target's jobs go; nullopt: the target is gone.
  using PartitionOf = std::function<std::optional<Partition>(const std::string& target)>;
  SlurmEngine(Settings settings, PartitionOf partition_of);
  ~SlurmEngine() override { stop(); }

  void start(Changed changed) override;
  void stop() override;
  void submit(compute::Order order) override;
  void follow(const compute::Order& order) override;
  void cancel(const std::string& attempt) override;
  void wake(const std::string& attempt) override;
  void forget(const std::string& attempt) override;
  compute::Sighting look(const std::string& attempt) const override;
  std::string explain(const std::string& attempt) const override;
  compute::EngineView view(const std::string& target) override;
  std::string never_runs(const compute::Order& order) override;
  std::size_t jobs(const std::string& target) const override;
  std::string trouble() const override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    compute::Order order;
    std::string id;  ///< Slurm's number, once known
    compute::Sighting seen;
    bool submitting = false;  ///< to be handed over, or just being so
    bool cancelling = false;
    bool forgotten = false;                       ///< nobody wants to hear of it
    std::uint64_t seen_at_look = 0;               ///< the last that showed it
    std::uint64_t after_look = 0;                 ///< only a look with a higher number says that it is not there
    std::optional<std::uint64_t> failed_at_look;  ///< sbatch failed: it may be there nevertheless
    Clock::time_point try_at{};                   ///< not before then
    std::string hitch;                            ///< why it is not handed over yet
    std::optional<Clock::time_point> powering_since;
  };

  void hand_over();
  void hand_over_one(const std::string& attempt);
  /// Whether to run sbatch now: the nodes are there, or waiting for them would not make it quicker.
  bool nodes_are_up(const std::string& attempt, const compute::Order& order, const Partition& partition);
  void poll();
  void send_signals();
  void look_at_queue();
  void look_at_nodes();
  /// Waits a moment for a look at the nodes that is not older than `limit`.
  void await_nodes(std::unique_lock<std::mutex>& lock, std::chrono::seconds limit);
  Request request_for(const compute::Order& order, const Partition& partition) const;
  struct Taken {
    std::vector<std::string> changes;  ///< attempts
    std::vector<std::string> surplus;  ///< Slurm's numbers of what nobody wants any more
  };
  Taken take_queue(const std::vector<Entry>& entries, std::uint64_t look);
  compute::Sighting judged(const Known& known, compute::Sighting seen) const;
  std::vector<std::string> missing(std::uint64_t look) const;
  void settle(const std::vector<std::string>& attempts, std::vector<std::string>& changes);
  void tell(const std::vector<std::string>& changes);
  void note_restart(const std::vector<Entry>& entries);
  void note_trouble(const std::string& what);
  void it_answered();

  Commands commands_;
  Settings settings_;
  PartitionOf partition_of_;
  Changed changed_;

  mutable std::mutex mutex_;
  std::condition_variable to_submit_there_;
  std::condition_variable to_poll_;
  std::condition_variable looked_;
  bool stopping_ = false;
  std::map<std::string, Known> known_;
  std::deque<std::string> to_submit_;
  std::set<std::string> to_cancel_;                     ///< attempts
  std::set<std::string> to_wake_;                       ///< attempts
  std::map<std::string, Clock::time_point> forgotten_;  ///< what of ours may still be seen for a while
  std::uint64_t looks_ = 0;                             ///< begun
  std::uint64_t last_look_ = 0;                         ///< the last that succeeded
  std::map<std::string, std::vector<Node>> nodes_;      ///< by partition
  std::set<std::string> elastic_;                       ///< nodes
  std::optional<Time> nodes_seen_;
  Clock::time_point nodes_wanted_{};  ///< somebody looked at a target then
  std::string no_power_up_;           ///< why nodes are not powered up by us
  std::string trouble_;               ///< why sbatch or the look at the queue failed; empty: Slurm answers
  Time trouble_since_{};
  std::optional<Clock::time_point> last_trouble_;
  std::string nodes_trouble_;  ///< why the last look at the nodes failed; empty: it did not
  Time nodes_trouble_since_{};
  std::set<std::string> given_;  ///< Slurm's numbers that sbatch answered to this server
  std::vector<std::thread> threads_;
};

}  // namespace lathe::slurm
