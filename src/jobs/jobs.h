#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "auth/auth.h"
#include "base/task_queue.h"
#include "compute/compute.h"
#include "db/db.h"
#include "http/http.h"
#include "jobs/admission.h"
#include "jobs/job_store.h"
#include "jobs/launcher.h"
#include "jobs/plan.h"
#include "jobs/usage_log.h"
#include "process/log_follow.h"
#include "process/watch.h"
#include "storage/storage.h"

namespace lathe::compute {
class Engine;
}

/// Jobs: a command with code, data and an environment, run on a compute target, each a run of an experiment.
namespace lathe::jobs {

/// What a job looks like from outside; Azure's names.
struct JobAnswer {
  std::string name;
  std::string type = "command";
  std::string status;  ///< Azure's names: Queued, Preparing, Running, CancelRequested, Completed, Failed, Canceled
  std::string display_name;
  std::string experiment_name;
  std::string description;
  std::string compute;
  std::optional<std::string> node;
  std::optional<std::vector<std::string>> nodes;
  std::int64_t attempt = 1;
  std::optional<std::string> waiting_for;
  std::optional<std::string> notice;
  std::optional<std::string> error;
  std::optional<std::int64_t> exit_code;
  json::Value document;
  std::optional<Plan> plan;
  std::map<std::string, std::string> phases;          ///< when: submitted, prepared, started, user_code, ended
  std::map<std::string, double> seconds;              ///< how long: queued, preparing, running
  bool archived = false;
  std::map<std::string, std::string> creation_context;
  json::Report report;
};

/// Why a job is not done yet.
struct WhyAnswer {
  std::string name;
  std::string status;
  std::string sentence;
  std::optional<std::int64_t> place;
  std::optional<std::string> expected_start;
  std::optional<std::string> basis;
  std::optional<std::string> remedy;
};
class RemoteJobs;
struct RemoteOptions;

/// All jobs, from submission to their end. Thread-safe; functions block on the store.
///
/// The store has one row a job; the shims' folders are the truth about processes. After a crash `start` compares the two:
/// what runs is watched again, what ended is finished, what never began waits again.
class Jobs {
 public:
  Jobs(db::Database& db, auth::Auth& auth, compute::Compute& compute, Launcher& launcher, environments::Environments& environments,
       DiskRoom disk, Resolvers resolvers, const UsageLog::Options& usage);
  ~Jobs();

  /// Lets `engine`, which outlives this, run the jobs of its targets. Before `start`.
  RemoteJobs& connect(compute::Engine& engine, RemoteOptions options);

  /// Takes up what an earlier server left, then lets the compute targets place jobs.
  Result<void> start();

  Result<JobAnswer> submit(const json::Object& document, bool strict, const Caller& caller);
  Result<JobAnswer> show(const std::string& name);
  /// What it waits for; or that it runs or has ended.
  Result<WhyAnswer> why(const std::string& name);
  struct Page {
    std::vector<JobAnswer> value;
    std::optional<std::string> next;
  };
  Result<Page> list(const Wanted& wanted);
  /// Answers at once with the new state. Errors: `not_found`; `conflict` — it has ended.
  Result<JobAnswer> cancel(const std::string& name, const std::string& actor);
  /// Ends a running job, which has failed then, for the reason that `why` gives.
  Result<void> fail_running(const std::string& name, const std::string& why);
  Result<JobAnswer> archive(const std::string& name, bool archived);

  /// Calls `wake`, which must not block, after each change of the job's state until the returned object goes.
  std::shared_ptr<void> on_change(const std::string& name, std::function<void()> wake);
  process::LogWatch& logs() { return logs_; }

  /// A job that has not ended and has this environment.
  Result<std::optional<std::string>> user_of_environment(const std::string& digest);

  Launcher& launcher() { return launcher_; }
  db::Database& db() { return db_; }
  JobAnswer answer(const Job& job) const;
  /// How the job is spread over nodes and processes.
  static Distribution spread_of(const Job& job);
  /// The folder in which what `rank` prints is kept. Errors: `invalid` — the job has no such rank, or its ranks print
  /// into one log.
  Result<std::filesystem::path> log_folder(const Job& job, std::int64_t rank) const;

 private:
  struct Waiting {
    Job job;
    Plan plan;
    std::int64_t user_id = 0;
    std::string token;
    Time not_before{};
  };

  /// Uses the store again and again while it is away, until this object goes: what a process did has to be written down.
  template <class F>
  auto insist(F use_store) -> decltype(use_store());
  void admit(const std::string& name);
  void environment_built(const std::string& name);
  /// A job that waits has failed.
  void refuse_waiting(const std::string& name, const std::string& why);
  void placed(const std::string& name, const compute::Compute::Place& place);
  void launch(Waiting waiting, const compute::Resources& room);
  void finish(const std::string& name);
  void look_at(const std::string& name);
  std::string why_failed(const Job& job, const Plan& plan, const std::vector<process::Observation>& seen,
                         std::size_t cause) const;
  Result<void> keep_outputs(const Job& job, const Plan& plan);
  void end_job(Job job, Event event);
  /// The same for a job whose nodes were given back already.
  void write_end(Job job, Event event);
  void give_way(const std::string& name, const std::string& winner);
  void queue_again(Job job, compute::Outcome outcome);
  Result<void> take_up(Job job);
  /// Whether an engine runs the target's jobs.
  bool is_remote(const std::string& target) const;
  Result<void> take_up_remote(const Job& job);
  void end_remote(const std::string& name, Event event, const std::string& why);
  void changed(const std::string& name);

  db::Database& db_;
  auth::Auth& auth_;
  compute::Compute& compute_;
  Launcher& launcher_;
  environments::Environments& environments_;
  Resolvers resolvers_;

  std::mutex admitting_;  ///< held from the look for a waiting job to its place in the queue, and over a cancel; before mutex_
  std::mutex mutex_;
  std::condition_variable ending_;
  TaskQueue tasks_;
  bool stopping_ = false;
  std::map<std::string, Waiting> waiting_;
  std::map<std::string, bool> finishing_;  ///< whose end is being looked at; true: once more
  std::multimap<std::string, std::weak_ptr<std::function<void()>>> listeners_;
  std::vector<std::thread> workers_;
  UsageLog usage_;
  process::LogWatch logs_;
  std::unique_ptr<process::Watch> watch_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<RemoteJobs> remote_;  ///< none: there is no engine but this machine
};

/// `artifacts`: where what jobs logged lies.
void add_routes(http::Router& router, Jobs& jobs, storage::Storage& artifacts);

}  // namespace lathe::jobs

namespace lathe::json {

template <>
struct Fields<jobs::JobAnswer> {
  static constexpr std::string_view name = "Job";
  using T = jobs::JobAnswer;
  static constexpr auto list = std::tuple{
      field("name", &T::name, "the run's id too"), field("type", &T::type),
      field("status", &T::status, "Queued, Preparing, Running, CancelRequested, Completed, Failed or Canceled"),
      field("display_name", &T::display_name),
      field("experiment_name", &T::experiment_name),
      field("description", &T::description),
      field("compute", &T::compute),
      field("node", &T::node, "the first of them"),
      field("nodes", &T::nodes, "all of them, of a job that has several"),
      field("attempt", &T::attempt, "2 and more: it was started again"),
      field("waiting_for", &T::waiting_for, "while it is queued"),
      field("notice", &T::notice, "what is not known for certain of a job on a cluster, and why"),
      field("error", &T::error, "why it failed, with the evidence"),
      field("exit_code", &T::exit_code),
      field("document", &T::document, "as it was sent"),
      field("plan", &T::plan, "what was made of it"),
      field("phases", &T::phases, "when each phase began"),
      field("seconds", &T::seconds, "how long each phase took"),
      field("archived", &T::archived),
      field("creation_context", &T::creation_context),
      field("report", &T::report, "fields that were not plainly honoured")};
};
template <>
struct Fields<jobs::WhyAnswer> {
  static constexpr std::string_view name = "JobWhy";
  using T = jobs::WhyAnswer;
  static constexpr auto list =
      std::tuple{field("name", &T::name),
                 field("status", &T::status),
                 field("sentence", &T::sentence, "all of it, for people"),
                 field("place", &T::place, "in line on its compute; 1: the first. Absent: a quota or a pause keeps it out"),
                 field("expected_start", &T::expected_start),
                 field("basis", &T::basis, "of that: time limits, or how long jobs ran there before; or why there is none"),
                 field("remedy", &T::remedy, "what would let it start sooner")};
};
template <>
struct Fields<jobs::Jobs::Page> {
  static constexpr std::string_view name = "JobList";
  static constexpr auto list = std::tuple{field("value", &jobs::Jobs::Page::value), field("next", &jobs::Jobs::Page::next, "token of the next page")};
};

}  // namespace lathe::json
