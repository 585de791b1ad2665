#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "slurm/settings.h"

/// Slurm by its command line: what every site and version has.
namespace lathe::slurm {

/// A job as `squeue` shows it.
struct Entry {
  std::string id;       ///< Slurm's number: a hint only, since slurmctld may give it again after a crash
  std::string attempt;  ///< ours, from the comment
  std::string state;    ///< PENDING, RUNNING, NODE_FAIL, ...
  std::string reason;   ///< why it waits: Resources, Priority, ...
  std::string nodes;    ///< a hostlist: n[1-3]
  std::string starts;   ///< when Slurm expects it to start, or "N/A"
};

/// A node as `sinfo` shows it.
struct Node {
  std::string partition;
  std::string name;
  std::string state;  ///< idle, idle~ (powered down), allocated, down*, ...
  std::int64_t cores = 0;
  std::int64_t memory_bytes = 0;
  std::string gres;               ///< gpu:a100:4
  std::string reason;             ///< why it is down or drained
  std::int64_t most_minutes = 0;  ///< of a job in the partition; 0: no limit
  std::int64_t most_nodes = 0;    ///< of a job in the partition; 0: no limit
};

/// What `sbatch` is told.
struct Request {
  std::string attempt;
  std::string name;
  std::string user;  ///< who submits
  Partition partition;
  std::int64_t nodes = 1;
  std::int64_t minutes = 0;  ///< 0: the partition's limit
  std::int64_t nice = 0;
  std::string script;
};

/// Errors of all: `unavailable` — Slurm cannot be reached, or did not answer in time (then it is unknown what the
/// command did); `invalid` — Slurm refused, with its words. Thread-safe; block for a command.
class Commands {
 public:
  explicit Commands(Settings settings) : settings_(std::move(settings)) {}

  /// Answers Slurm's number.
  Result<std::string> submit(const Request& request) const;
  /// Our jobs that wait, run or are ending: those whose comment begins with "lathe:".
  Result<std::vector<Entry>> queue() const;
  /// Slurm's number of one of our jobs, and what tells it from another with that number.
  struct Asked {
    std::string id;  ///< empty: an earlier server submitted it, and it has not been seen since
    std::string attempt;
    std::string job;
  };
  /// Those that Slurm still remembers, also ended ones; of those that it does not, how they ended by its accounting,
  /// where it keeps that.
  Result<std::vector<Entry>> remembered(const std::vector<Asked>& jobs) const;
  Result<void> cancel(const std::vector<std::string>& ids) const;
  /// Sends SIGTERM to our program on all nodes of running jobs, which makes it ask the server what is wanted.
  /// `several_nodes`: whether these are jobs of more than one.
  Result<void> wake(const std::vector<std::string>& ids, bool several_nodes) const;
  /// How long the controller has been running: short after it was killed, or when another took over.
  Result<std::chrono::seconds> controller_age() const;
  /// Of all partitions.
  Result<std::vector<Node>> nodes() const;
  /// Errors also: `forbidden` — only Slurm's operators may.
  Result<void> power_up(const std::vector<std::string>& nodes) const;

 private:
  Result<std::string> run(const std::vector<std::string>& command, std::string_view input = {}) const;
  Result<void> scancel(const std::vector<std::string>& command, const std::vector<std::string>& ids) const;
  std::vector<Entry> accounted(std::vector<Asked> jobs) const;
  std::vector<Entry> sacct(const std::vector<Asked>& jobs, const std::vector<std::string>& which,
                           std::atomic<bool>& refused) const;

  Settings settings_;
  mutable std::atomic<bool> no_accounting_{false};
  mutable std::atomic<bool> no_submit_lines_{false};  ///< before Slurm 21.08
};

/// The arguments of sbatch for a request.
std::vector<std::string> sbatch_arguments(const Request& request);
/// The lines of sacct in our format, with the attempts of `asked`: its comments are not kept everywhere, so that a job
/// is known by number and name, or by the command that submitted it, with its comment. Those that have not ended are
/// left out: the accounting never learns of it if the controller forgot them.
std::vector<Entry> read_accounted(std::string_view text, const std::vector<Commands::Asked>& asked);
/// The lines of squeue in our format; those that are not ours are left out.
std::vector<Entry> read_entries(std::string_view text);
std::vector<Node> read_nodes(std::string_view text);

}  // namespace lathe::slurm
