#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "compute/events.h"
#include "db/db.h"
#include "jobs/states.h"
#include "json/report.h"

namespace lathe::jobs {

/// A job as the store keeps it. Texts that end in JSON are documents.
struct Job {
  std::string name;
  std::int64_t number = 0;  ///< the order of submission
  std::int64_t experiment_id = 0;
  std::string experiment_name;
  std::string display_name;
  std::string description;
  std::string compute;
  State state = State::queued;
  std::int64_t attempt = 1;
  std::vector<compute::NodeGiven> nodes;  ///< those it has, the first one's first; empty while it waits
  std::string document_json;
  std::string plan_json;
  std::string report_json;
  std::string error;
  std::optional<std::int64_t> exit_code;
  bool archived = false;
  std::string created_by;
  Time created{};
  std::optional<Time> prepared;
  std::optional<Time> started;
  std::optional<Time> user_code;
  std::optional<Time> ended;
  std::string winner;        ///< the job to which it gives way; empty: it does not
  std::int64_t losses = 0;   ///< how often its node was lost

  /// The name of its first node, or "".
  std::string node() const { return nodes.empty() ? std::string() : nodes.front().name; }
};

/// Gives the job its number. Errors: `conflict` — the name is taken.
Result<void> insert_job(db::Connection& c, Job& job);
/// Errors: `not_found`.
Result<Job> find_job(db::Connection& c, const std::string& name);
/// Newest first. `below`: only numbers below it, for the next page.
struct Wanted {
  std::optional<std::int64_t> below;
  std::string state;            ///< empty: any
  std::string experiment_name;  ///< empty: any
  bool with_archived = false;
  std::int64_t limit = 100;
};
Result<std::vector<Job>> list_jobs(db::Connection& c, const Wanted& wanted);
/// Oldest first.
Result<std::vector<Job>> unfinished_jobs(db::Connection& c);

/// Marks a job that has or gets nodes as one that gives way. False: it has ended, is marked already, or was cancelled.
Result<bool> set_winner(db::Connection& c, const std::string& name, const std::string& winner);
/// What ended since `since`, the oldest first; at most the last `limit`.
Result<std::vector<Job>> ended_jobs(db::Connection& c, Time since, std::int64_t limit);

/// Moves the job from the state that `job` shows to `to` and writes its nodes, attempt, losses, times, exit code and error.
/// Back to the queue, it gives way to nobody any more.
/// False: it was in another state by now, and nothing changed.
Result<bool> move_job(db::Connection& c, const Job& job, State to);
/// Errors: `not_found`.
Result<void> add_to_report(db::Connection& c, const std::string& name, const json::FieldReport& entry);
Result<void> set_archived(db::Connection& c, const std::string& name, bool archived);

}  // namespace lathe::jobs
