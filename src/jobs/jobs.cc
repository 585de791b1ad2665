#include "jobs/jobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "base/held_folder.h"
#include "base/log.h"
#include "base/text.h"
#include "jobs/gang.h"
#include "jobs/mpi.h"
#include "jobs/remote.h"
#include "jobs/verdict.h"
#include "process/owner.h"
#include "tracking/tracking.h"

namespace lathe::jobs {
namespace {

constexpr int kWorkers = 8;  // most of them wait for a commit or for a program to start
/// A job with this variable samples the machine by itself, under the same names.
constexpr const char* kSamplesItself = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING";
/// A job whose node was lost is tried again so often, after a pause that grows fourfold each time.
constexpr std::int64_t kMostLosses = 3;
constexpr auto kFirstPause = std::chrono::seconds{1};
/// What ended earlier counts in nobody's share of the machine any more.
constexpr auto kRemembered = std::chrono::hours{24 * 8};
constexpr std::int64_t kMostRemembered = 2000;
constexpr auto kStorePause = std::chrono::milliseconds{500};
constexpr std::string_view kNoEngine = "this server is not connected to Slurm: start it with --slurm on";

tracking::RunStatus run_status(State state) {
  switch (state) {
    case State::completed: return tracking::RunStatus::finished;
    case State::failed: return tracking::RunStatus::failed;
    case State::canceled: return tracking::RunStatus::killed;
    case State::queued:
    case State::preparing: return tracking::RunStatus::scheduled;
    default: return tracking::RunStatus::running;
  }
}

Result<Plan> plan_of(const Job& job) {
  LATHE_TRY(const auto value, json::parse(job.plan_json));
  return json::from_json<Plan>(value);
}

compute::Need need_of(const Job& job, const Plan& plan) {
  compute::Need need;
  if (plan.job_tier == "spot") need.tier = compute::Tier::spot;
  if (plan.job_tier == "basic") need.tier = compute::Tier::basic;
  if (plan.job_tier == "premium") need.tier = compute::Tier::premium;
  if (plan.priority == "low") need.priority = compute::Priority::low;
  if (plan.priority == "high") need.priority = compute::Priority::high;
  need.nodes = plan.spread().nodes;
  need.user = job.created_by;
  need.limit = std::chrono::seconds{plan.timeout_s};
  need.number = job.number;
  return need;
}

/// Asks all of them, also when one cannot be asked.
Result<void> stop(const std::vector<std::filesystem::path>& folders) {
  Result<void> out;
  for (const auto& folder : folders)
    if (auto asked = process::request_stop(folder); !asked && asked.error().code != Code::not_found)
      out = fail(asked.error());
  return out;
}

void clean_up(const std::string& job, const std::vector<std::filesystem::path>& folders) {
  for (const auto& folder : folders)
    if (auto cleaned = process::cleanup(folder); !cleaned)
      log::warn("cannot clean up after job={} why={}", job, cleaned.error().message);
}

/// The job's times, from its nodes' shims.
void note_ends(Job& job, const std::vector<process::Observation>& seen) {
  for (const auto& node : seen) {
    if (!node.end) continue;
    if (!job.ended || node.end->ended > *job.ended) job.ended = node.end->ended;
    if (node.end->user_code && (!job.user_code || *node.end->user_code < *job.user_code))
      job.user_code = node.end->user_code;
    if (!job.started) job.started = node.end->started;
  }
}

double seconds_between(std::optional<Time> from, std::optional<Time> to) {
  return from && to ? static_cast<double>((*to - *from).count()) / 1e6 : 0;
}

}  // namespace

Jobs::Jobs(db::Database& db, auth::Auth& auth, compute::Compute& compute, Launcher& launcher, environments::Environments& environments,
           DiskRoom disk, Resolvers resolvers, const UsageLog::Options& usage)
    : db_(db),
      auth_(auth),
      compute_(compute),
      launcher_(launcher),
      environments_(environments),
      resolvers_(std::move(resolvers)),
      usage_(db, usage, compute.room_of("local").value_or(compute::Resources{})) {
  Admission::Calls calls;
  calls.ready = [this](const std::string& name, bool built) {
    tasks_.add([this, name, built] { built ? environment_built(name) : admit(name); });
  };
  calls.refused = [this](const std::string& name, const Error& why) {
    tasks_.add([this, name, why] { refuse_waiting(name, why.message); });
  };
  admission_ = std::make_unique<Admission>(environments, std::move(disk), std::move(calls));
  watch_ = std::make_unique<process::Watch>([this](const std::filesystem::path& folder) {
    const auto name = launcher_.job_of(folder);
    tasks_.add([this, name] { finish(name); });
  });
  for (int i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { tasks_.run(); });
}

Jobs::~Jobs() {
  admission_->stop();
  compute_.stop();
  remote_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  tasks_.stop();  // what is left undone is found again at the next start: the shims' folders say what happened
  ending_.notify_all();
  for (auto& worker : workers_) worker.join();
  watch_.reset();
}

template <class F>
auto Jobs::insist(F use_store) -> decltype(use_store()) {
  for (bool said = false;; said = true) {
    auto outcome = use_store();
    const bool passes = outcome || (outcome.error().code != Code::unavailable && outcome.error().code != Code::exhausted);
    if (passes) return outcome;
    if (!said) log::warn("what became of a job cannot be written yet why=\"{}\"", outcome.error().message);
    std::unique_lock lock(mutex_);
    if (ending_.wait_for(lock, kStorePause, [&] { return stopping_; })) return outcome;
  }
}

// --- from the store to the outside ---

JobAnswer Jobs::answer(const Job& job) const {
  JobAnswer out;
  out.name = job.name;
  out.status = name_of(job.state);
  out.display_name = job.display_name;
  out.experiment_name = job.experiment_name;
  out.description = job.description;
  out.compute = job.compute;
  if (!job.nodes.empty()) out.node = job.node();
  if (job.nodes.size() > 1) {
    out.nodes.emplace();
    for (const auto& node : job.nodes) out.nodes->push_back(node.name);
  }
  out.attempt = job.attempt;
  const bool remote = !is_final(job.state) && is_remote(job.compute);
  if (job.state == State::queued) {
    auto waits = !remote ? admission_->waiting_for(job.name) : remote_ ? remote_->waiting_for(job.name) : std::string(kNoEngine);
    if (waits.empty()) waits = compute_.waiting_for(job.name);
    if (!waits.empty()) out.waiting_for = std::move(waits);
  } else if (remote) {
    auto notice = remote_ ? remote_->notice(job.name) : fmt::format("this is its last known state: {}", kNoEngine);
    if (!notice.empty()) out.notice = std::move(notice);
  }
  if (!job.error.empty()) out.error = job.error;
  out.exit_code = job.exit_code;
  out.document = json::parse(job.document_json).value_or(json::Value());
  if (auto plan = plan_of(job)) out.plan = std::move(*plan);
  const auto phase = [&](const char* name, const std::optional<Time>& time) {
    if (time) out.phases[name] = to_iso8601(*time);
  };
  phase("submitted", job.created);
  phase("prepared", job.prepared);
  phase("started", job.started);
  phase("user_code", job.user_code);
  phase("ended", job.ended);
  if (job.prepared) out.seconds["queued"] = seconds_between(job.created, job.prepared);
  if (job.user_code) out.seconds["preparing"] = seconds_between(job.prepared, job.user_code);
  if (job.user_code && job.ended) out.seconds["running"] = seconds_between(job.user_code, job.ended);
  out.archived = job.archived;
  out.creation_context = {{"created_by", job.created_by}, {"created_at", to_iso8601(job.created)}};
  if (auto report = json::parse(job.report_json)) out.report = json::from_json<json::Report>(*report).value_or(json::Report{});
  return out;
}

Distribution Jobs::spread_of(const Job& job) {
  return plan_of(job).value_or(Plan{}).spread();
}

Result<std::filesystem::path> Jobs::log_folder(const Job& job, std::int64_t rank) const {
  const auto plan = plan_of(job).value_or(Plan{});
  const auto spread = plan.spread();
  if (rank < 0 || rank >= spread.processes())
    return fail(Code::invalid,
                fmt::format("rank: the job {} has {} process{}: 0{}", job.name, spread.processes(),
                            spread.processes() == 1 ? "" : "es",
                            spread.processes() == 1 ? "" : fmt::format(" to {}", spread.processes() - 1)));
  if (spread.type == "mpi" && rank > 0)
    return fail(
        Code::invalid,
        "rank: mpirun prints what all ranks print into one log; `lathe job download --all` has each rank's own too");
  const auto [node, local] = place_of(spread, rank);
  return process::rank_folder(launcher_.node_folders(job, plan)[static_cast<std::size_t>(node)],
                              static_cast<std::size_t>(local));
}

Result<JobAnswer> Jobs::show(const std::string& name) {
  LATHE_TRY(const auto job, db_.read([&](db::Connection& c) { return find_job(c, name); }));
  return answer(job);
}

Result<WhyAnswer> Jobs::why(const std::string& name) {
  LATHE_TRY(const auto job, db_.read([&](db::Connection& c) { return find_job(c, name); }));
  WhyAnswer out;
  out.name = name;
  out.status = name_of(job.state);
  if (is_final(job.state)) {
    out.sentence = fmt::format("{} has ended: {}", name, out.status);
  } else if (is_remote(job.compute) && job.state == State::queued) {
    out.sentence = fmt::format("{}: {}", name, answer(job).waiting_for.value_or("it is about to start"));
  } else if (const auto why = compute_.why(name); why && job.state == State::queued) {
    out.sentence = fmt::format("{} {}", name, why->sentence(now()));
    if (why->place > 0) out.place = why->place;
    if (why->start) out.expected_start = to_iso8601(*why->start);
    if (!why->basis.empty()) out.basis = why->basis;
    if (!why->remedy.empty()) out.remedy = why->remedy;
  } else if (const auto waits = admission_->waiting_for(name); !waits.empty() && job.state == State::queued) {
    out.sentence = fmt::format("{}: {}", name, waits);
  } else if (!job.winner.empty()) {
    out.sentence = fmt::format("{} gives way to {} and will be queued again", name, job.winner);
  } else {
    out.sentence = job.nodes.empty() ? fmt::format("{} is about to start", name) : fmt::format("{} waits for nothing: it has {}", name, job.node());
  }
  return out;
}

Result<Jobs::Page> Jobs::list(const Wanted& wanted) {
  LATHE_TRY(const auto jobs, db_.read([&](db::Connection& c) { return list_jobs(c, wanted); }));
  Page page;
  for (const auto& job : jobs) page.value.push_back(answer(job));
  if (static_cast<std::int64_t>(jobs.size()) == wanted.limit) page.next = std::to_string(jobs.back().number);
  return page;
}

// --- submission ---

Result<JobAnswer> Jobs::submit(const json::Object& document, bool strict, const Caller& caller) {
  json::Report report;
  LATHE_TRY(const auto asked, read_document(document, report));
  if (auto known = compute_.check_target(asked.compute); !known) return fail(Code::invalid, "compute: " + known.error().message);
  if (!remote_ && is_remote(asked.compute)) return fail(Code::conflict, fmt::format("compute: {}", kNoEngine));
  LATHE_TRY(auto plan, make_plan(asked, resolvers_, caller, report));
  if (plan.environment_recipe && is_remote(asked.compute)) {
    plan.environment = "the default environment of the cluster's nodes (/usr/bin/python3)";
    plan.environment_recipe.reset();
    report.push_back({"environment", "substituted", "what is built here is not on the cluster's nodes: their own Python runs the job"});
  }
  LATHE_CHECK(json::refuse_if_strict(report, strict));
  for (const auto& entry : report)
    if (strict && entry.verdict == "missing") return fail(Code::invalid, entry.field + ": " + entry.detail);
  plan.strict = strict;

  Job job;
  job.name = asked.name;
  job.experiment_name = asked.experiment_name;
  job.display_name = asked.display_name;
  job.description = asked.description;
  job.compute = asked.compute;
  job.document_json = json::print(document);
  job.plan_json = json::print(json::to_json(plan));
  job.report_json = json::print(json::to_json(report));
  job.created_by = caller.who.user;
  job.created = now();

  const bool remote = is_remote(job.compute);
  LATHE_CHECK(remote ? remote_->check(job.compute, plan) : compute_.check_possible(job.compute, need_of(job, plan)));
  RemoteRow row;
  Waiting waiting;
  waiting.user_id = caller.who.user_id;
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(job.experiment_id, tracking::get_or_create_experiment(c, job.experiment_name, job.created_by, job.created));
    tracking::RunSpec run;
    run.run_id = job.name;
    run.experiment_id = job.experiment_id;
    run.run_name = job.display_name;
    run.user = job.created_by;
    run.created_by = job.created_by;
    run.start_ms = millis(job.created);
    run.status = tracking::RunStatus::scheduled;
    run.job = true;
    for (const auto& [key, value] : asked.tags) run.tags.push_back({key, value});
    if (!asked.parent.empty()) {
      if (const auto parent = tracking::find_run(c, asked.parent); !parent)
        return fail(Code::invalid, fmt::format("parent_job_name: no job or run named \"{}\"", printable(asked.parent)));
      run.tags.push_back({"mlflow.parentRunId", asked.parent});
    }
    if (plan.code) run.tags.push_back({"lathe.code", *plan.code});
    if (auto made = tracking::create_run(c, std::move(run)); !made) {
      if (made.error().code == Code::conflict)
        return fail(Code::conflict, fmt::format("name: there is a job or run named \"{}\" already: choose another name, or leave it out", job.name));
      return fail(made.error());
    }
    if (remote) {
      LATHE_TRY(row, remote_->prepare(c, job.name, waiting.token));
    } else {
      LATHE_TRY(waiting.token, auth_.issue_job_token(c, job.created_by, job.name));
    }
    return insert_job(c, job);
  }));
  if (remote) {
    remote_->submit(job, plan, waiting.user_id, row, waiting.token);
    return answer(job);
  }
  waiting.job = job;
  waiting.plan = std::move(plan);
  {
    const std::lock_guard lock(mutex_);
    waiting_[job.name] = std::move(waiting);
  }
  admit(job.name);
  return answer(job);
}

/// Into the queue of its compute, when all is there that it needs; else it is called again.
void Jobs::admit(const std::string& name) {
  std::string compute;
  compute::Need need;
  std::optional<environments::Recipe> recipe;
  Time not_before{};
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(name);
    if (found == waiting_.end()) return;
    not_before = found->second.not_before;
    compute = found->second.job.compute;
    need = need_of(found->second.job, found->second.plan);
    recipe = found->second.plan.environment_recipe;
  }
  if (admission_->may_queue(name, recipe) && !compute_.queue(name, compute, need, not_before))
    refuse_waiting(name, fmt::format("its compute {} was deleted", compute));
  changed(name);
}

/// What the code needs could not be compared with an environment that was not there yet.
void Jobs::environment_built(const std::string& name) {
  Waiting waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(name);
    if (found == waiting_.end()) return;
    waiting = found->second;
  }
  if (const auto missing = resolvers_.missing_modules(waiting.plan); !missing.empty()) {
    const auto entry = missing_report(missing);
    if (waiting.plan.strict) return refuse_waiting(name, entry.detail);
    const auto noted = db_.write([&](db::Connection& c) { return add_to_report(c, name, entry); });
    if (!noted) log::warn("cannot note missing modules job={} why={}", name, noted.error().message);
  }
  admit(name);
}

void Jobs::refuse_waiting(const std::string& name, const std::string& why) {
  Waiting waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(name);
    if (found == waiting_.end()) return;
    waiting = std::move(found->second);
    waiting_.erase(found);
  }
  waiting.job.error = "the job was not started: " + why;
  end_job(std::move(waiting.job), Event::broke);
}

Result<std::optional<std::string>> Jobs::user_of_environment(const std::string& digest) {
  LATHE_TRY(const auto jobs, db_.read([](db::Connection& c) { return unfinished_jobs(c); }));
  for (const auto& job : jobs) {
    const auto plan = plan_of(job);
    if (plan && plan->environment_recipe && plan->environment_recipe->digest() == digest) return job.name;
  }
  return std::nullopt;
}

// --- running ---

void Jobs::placed(const std::string& name, const compute::Compute::Place& place) {
  std::unique_lock lock(mutex_);
  const auto found = waiting_.find(name);
  if (found == waiting_.end() || !admission_->has_room()) {  // cancelled while it was queued; or it has to ask again
    lock.unlock();
    tasks_.add([this, name] {
      compute_.gone(name, compute::Outcome::preempted);
      admit(name);
    });
    return;
  }
  auto waiting = std::move(found->second);
  waiting_.erase(found);
  lock.unlock();
  waiting.job.nodes = place.nodes;
  tasks_.add([this, waiting = std::move(waiting), room = place.room] { launch(waiting, room); });
}

void Jobs::launch(Waiting waiting, const compute::Resources& room) {
  auto& job = waiting.job;
  if (waiting.token.empty()) {  // taken up after a restart: of the token that it had, only a hash is left
    auto token = insist([&] {
      return db_.write([&](db::Connection& c) -> Result<std::string> {
        LATHE_CHECK(auth_.revoke_job_token(c, job.name));
        return auth_.issue_job_token(c, job.created_by, job.name);
      });
    });
    if (!token) {
      job.error = "the job could not be started: " + token.error().message;
      return end_job(std::move(job), Event::broke);
    }
    waiting.token = std::move(*token);
  }
  job.prepared = now();
  // The store writes it down while the work folder is made.
  const auto moved = std::make_shared<std::promise<Result<bool>>>();
  const auto yes = std::make_shared<bool>(false);
  db_.submit(
      [job, yes](db::Connection& c) -> Result<void> {
        LATHE_TRY(*yes, move_job(c, job, *next(job.state, Event::placed)));
        return {};
      },
      [moved, yes](Result<void> done) { moved->set_value(done ? Result<bool>(*yes) : fail(done.error())); });
  std::optional<std::filesystem::path> environment;
  if (const auto& recipe = waiting.plan.environment_recipe) environment = environments_.ready(recipe->digest());
  auto ready = waiting.plan.environment_recipe && !environment
                   ? Result<Launcher::Ready>(fail(Code::not_found, "its environment was deleted meanwhile"))
                   : launcher_.prepare({job, waiting.plan, waiting.user_id, waiting.token, room, environment.value_or("")});
  const auto ours = moved->get_future().get();
  if (!ours) {
    log::warn("a job's start could not be written; it is queued again job={} why={}", job.name, ours.error().message);
    launcher_.discard(job);
    return queue_again(std::move(job), compute::Outcome::preempted);
  }
  if (!*ours) {  // cancelled meanwhile
    launcher_.discard(job);
    compute_.gone(job.name);
    return;
  }
  job.state = State::preparing;
  changed(job.name);

  const auto started = ready ? launcher_.start(*ready) : fail(ready.error());
  if (!started) {
    for (const auto& folder :
         launcher_.node_folders(job, waiting.plan)) {  // a shim that was killed may have left something
      (void)process::kill_now(folder);
      (void)process::cleanup(folder);
    }
    if (started.error().code == Code::unavailable && job.losses < kMostLosses)
      return queue_again(std::move(job), compute::Outcome::node_lost);
    job.error = "the job could not be started: " + started.error().message;
    return end_job(std::move(job), Event::broke);
  }
  job.started = now();
  // Before its state is written: a short job may have ended by then.
  const auto folders = launcher_.node_folders(job, waiting.plan);
  if (!waiting.plan.variables.contains(kSamplesItself)) usage_.add(job.name, folders, job.nodes, room);
  for (const auto& folder : folders)
    if (auto watched = watch_->add(folder); !watched)
      log::error("cannot watch job={} why={}", job.name, watched.error().message);
  auto after = insist([&] {
    return db_.write([&](db::Connection& c) -> Result<Job> {
      LATHE_TRY(const bool running, move_job(c, job, State::running));
      if (running) LATHE_CHECK(tracking::set_run_status(c, job.name, tracking::RunStatus::running, std::nullopt));
      return find_job(c, job.name);
    });
  });
  if (after && (after->state == State::cancel_requested || !after->winner.empty()))
    if (auto asked = stop(folders); !asked) log::error("cannot stop job={} why={}", job.name, asked.error().message);
  changed(job.name);
}

void Jobs::finish(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto [known, fresh] = finishing_.try_emplace(name, false);
    if (!fresh) {  // another of its nodes has just ended: who is at it looks once more
      known->second = true;
      return;
    }
  }
  for (;;) {
    try {
      look_at(name);
    } catch (const std::exception& failure) {  // our own mistake; without this it would end the server again and again
      log::error("a job's end could not be looked into job={} what={}", name, failure.what());
      auto job = insist([&] { return db_.read([&](db::Connection& c) { return find_job(c, name); }); });
      if (job) {
        job->error = std::string("the server could not find out how the job ended: ") + failure.what();
        end_job(std::move(*job), Event::broke);
      }
    }
    const std::lock_guard lock(mutex_);
    const auto known = finishing_.find(name);
    if (!known->second) {
      finishing_.erase(known);
      return;
    }
    known->second = false;
  }
}

void Jobs::look_at(const std::string& name) {
  auto found = insist([&] { return db_.read([&](db::Connection& c) { return find_job(c, name); }); });
  if (!found) {
    log::error("a process ended whose job is unknown job={} why={}", name, found.error().message);
    return;
  }
  auto job = std::move(*found);
  if (is_final(job.state)) return;
  const auto kept_plan = plan_of(job);
  const auto plan = kept_plan.value_or(Plan{});
  const auto folders = launcher_.node_folders(job, plan);
  std::vector<process::Observation> seen;
  for (const auto& folder : folders) {
    auto one = process::observe(folder);
    if (!one) return;
    seen.push_back(std::move(*one));
  }
  if (std::all_of(seen.begin(), seen.end(), [](const auto& one) { return one.status == process::Status::never_started; })) return;
  const auto gang = sum_up(seen, helper_nodes(plan.spread()));
  for (std::size_t i = 0; i < folders.size(); ++i) {
    if (seen[i].status == process::Status::running) {
      if (gang.decided)
        if (auto asked = process::request_stop(folders[i]); !asked)
          log::error("cannot stop the rest of job={} why={}", name, asked.error().message);
      (void)watch_->add(folders[i]);
    } else if (seen[i].status == process::Status::lost) {
      if (auto killed = process::kill_now(folders[i]); !killed)
        log::error("what a lost job left could not be ended job={} why={}", name, killed.error().message);
    }
  }
  if (gang.running) return;
  usage_.remove(name);
  auto event = gang.event;
  // Stopped for a reason that stands in its row already: then it has failed.
  if (event == Event::stopped && !job.error.empty()) event = Event::broke;
  note_ends(job, seen);
  if (const auto& decisive = seen[gang.cause.value_or(0)].end; decisive && decisive->code)
    job.exit_code = *decisive->code;
  const bool lost = gang.cause && seen[*gang.cause].status == process::Status::lost;
  const bool gave_way = event != Event::succeeded && !job.winner.empty() && job.error.empty();
  const bool here = !is_remote(job.compute);  // an engine's jobs were tried again before this was asked for
  if (here && job.state != State::cancel_requested && (gave_way || (lost && job.losses < kMostLosses))) {
    clean_up(name, folders);
    queue_again(std::move(job), lost ? compute::Outcome::node_lost : compute::Outcome::preempted);
    return;
  }
  compute_.gone(name);  // what waits may start while the end is written down
  if (event == Event::succeeded && kept_plan) {
    if (const auto kept = keep_outputs(job, plan); !kept) {
      job.error = kept.error().message;
      event = Event::broke;
    }
  } else if (event == Event::broke) {
    if (job.error.empty()) job.error = why_failed(job, plan, seen, *gang.cause);
  }
  clean_up(name, folders);
  end_job(std::move(job), event);
}

/// What is known of a failure by its node's shim, and of several processes by that which failed first.
std::string Jobs::why_failed(const Job& job, const Plan& plan, const std::vector<process::Observation>& seen,
                             std::size_t cause) const {
  const auto spread = plan.spread();
  VerdictInput input;
  input.observation = seen[cause];
  input.timeout_s = plan.timeout_s;
  input.node = cause < job.nodes.size() ? job.nodes[cause].name : job.node();
  const auto folder = launcher_.node_folders(job, plan)[cause];
  std::size_t local = 0;
  const auto& end = input.observation.end;
  if (end && end->reason != process::Reason::timeout && end->user_code && !spread.single()) {
    if (spread.type == "mpi") {
      if (const auto failed = mpi::first_failure(launcher_.work_folder(job.name));
          failed && failed->rank < spread.processes()) {
        input.rank = failed->rank;
        input.node = job.nodes[static_cast<std::size_t>(place_of(spread, failed->rank).first)].name;
      }
    } else {
      local = end->rank.value_or(0);
      input.rank = rank_of(spread, static_cast<std::int64_t>(cause), static_cast<std::int64_t>(local));
    }
  }
  input.last_lines = process::last_lines(process::rank_folder(folder, local), 20).value_or("");
  input.full_disk = full_disk(folder);
  return verdict(input);
}

/// Outputs that the job's file gives a name become data assets.
Result<void> Jobs::keep_outputs(const Job& job, const Plan& plan) {
  for (const auto& output : plan.outputs) {
    if (!output.asset_name) continue;
    // The job may have put a link there, to what only the server may read.
    const auto held = open_folder(launcher_.work_folder(job.name).parent_path(), "work/outputs/" + output.name);
    const auto kept = held ? insist([&] { return resolvers_.keep(path_of(*held), output, job.created_by); })
                           : Result<std::string>(fail(held.error()));
    if (!kept) return fail_in(fmt::format("The command succeeded, but its output {} could not be registered as data {}", output.name, *output.asset_name), kept.error());
    LATHE_CHECK(insist([&] {
      return db_.write([&](db::Connection& c) { return tracking::set_tag(c, job.name, "lathe.output." + output.name, *kept); });
    }));
  }
  return {};
}

void Jobs::end_job(Job job, Event event) {
  if (!job.ended) job.ended = now();
  job.error = printable(job.error);
  launcher_.drop_empty_checkpoint(job.name);
  const auto done = insist([&] {
    return db_.write([&](db::Connection& c) -> Result<State> {
      LATHE_TRY(const auto fresh, find_job(c, job.name));
      job.state = fresh.state;
      const auto to = next(fresh.state, event);
      if (!to) return fresh.state;
      if (*to != State::failed) job.error.clear();
      LATHE_TRY(const bool moved, move_job(c, job, *to));
      if (!moved) return fail(Code::conflict, "the job changed meanwhile");
      LATHE_CHECK(tracking::set_run_status(c, job.name, run_status(*to), millis(*job.ended)));
      LATHE_CHECK(auth_.revoke_job_token(c, job.name));
      return *to;
    });
  });
  if (done) log::info("job ended job={} state={} exit_code={}", job.name, name_of(*done), job.exit_code.value_or(-1));
  else log::error("a job's end could not be written; it will be at the next start job={} why={}", job.name, done.error().message);
  compute_.gone(job.name);
  if (remote_) remote_->ended(job.name);
  changed(job.name);
}

/// Asks a job to end that will be queued again. What is not asked for here, `launch` or `take_up` ask for.
void Jobs::give_way(const std::string& name, const std::string& winner) {
  const auto marked = insist([&] { return db_.write([&](db::Connection& c) -> Result<std::optional<Job>> {
    LATHE_TRY(const bool set, set_winner(c, name, winner));
    if (!set) return std::optional<Job>();
    LATHE_TRY(auto job, find_job(c, name));
    return std::optional<Job>(std::move(job));
  }); });
  if (!marked || !*marked) return;
  log::info("job gives way job={} to={}", name, winner);
  const auto plan = plan_of(**marked);
  if (auto asked = stop(launcher_.node_folders(**marked, plan.value_or(Plan{}))); !asked)
    log::error("cannot stop job={} why={}", name, asked.error().message);
  changed(name);
}

/// Ends an attempt, and queues the job in its old place.
void Jobs::queue_again(Job job, compute::Outcome outcome) {
  const auto plan = plan_of(job);
  Time not_before{};
  if (outcome == compute::Outcome::node_lost) {
    auto pause = kFirstPause;
    for (std::int64_t i = 0; i < job.losses; ++i) pause *= 4;
    not_before = now() + pause;
    ++job.losses;
  }
  Waiting waiting;
  const auto done = insist([&] {
    return db_.write([&](db::Connection& c) -> Result<bool> {
      LATHE_TRY(const auto fresh, find_job(c, job.name));
      if (next(fresh.state, Event::put_back) != State::queued) return false;
      auto again = job;
      again.state = fresh.state;
      ++again.attempt;
      again.nodes.clear();
      again.error.clear();
      again.exit_code.reset();
      again.prepared = again.started = again.user_code = again.ended = std::nullopt;
      LATHE_CHECK(move_job(c, again, State::queued));
      LATHE_CHECK(tracking::set_run_status(c, job.name, run_status(State::queued), std::nullopt));
      LATHE_CHECK(auth_.revoke_job_token(c, job.name));
      LATHE_TRY(waiting.token, auth_.issue_job_token(c, job.created_by, job.name));
      again.state = State::queued;
      again.winner.clear();
      waiting.job = std::move(again);
      return true;
    });
  });
  const auto user = auth_.user_id(job.created_by);
  if (!done || !*done || !user || !plan) {
    if (done && !*done) return end_job(std::move(job), Event::stopped);  // it was cancelled meanwhile
    job.error = "the job could not be queued again: " + (done ? (user ? plan.error() : user.error()) : done.error()).message;
    return end_job(std::move(job), Event::broke);
  }
  waiting.user_id = *user;
  waiting.plan = *plan;
  waiting.not_before = not_before;
  log::info("job queued again job={} attempt={} why={}", job.name, waiting.job.attempt, not_before == Time{} ? "it gave way" : "its node was lost");
  {
    const std::lock_guard lock(mutex_);
    waiting_[job.name] = std::move(waiting);
  }
  compute_.gone(job.name, outcome);
  admit(job.name);
}

Result<JobAnswer> Jobs::cancel(const std::string& name, const std::string& actor) {
  LATHE_TRY(auto job, db_.write([&](db::Connection& c) -> Result<Job> {
    LATHE_TRY(auto found, find_job(c, name));
    if (found.state == State::cancel_requested) return found;
    const auto to = next(found.state, Event::stop_asked);
    if (!to) return fail(Code::conflict, fmt::format("the job {} has ended already: {}", name, name_of(found.state)));
    if (is_final(*to)) {
      found.ended = now();
      LATHE_CHECK(tracking::set_run_status(c, name, run_status(*to), millis(*found.ended)));
      LATHE_CHECK(auth_.revoke_job_token(c, name));
    }
    LATHE_CHECK(move_job(c, found, *to));
    found.state = *to;
    return found;
  }));
  log::info("job cancelled job={} by={}", name, actor);
  if (is_remote(job.compute)) {
    if (remote_) remote_->cancel(name);
  } else if (job.state == State::canceled) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.erase(name);
    }
    launcher_.drop_empty_checkpoint(name);
    admission_->forget(name);
    compute_.gone(name);
  } else {
    LATHE_CHECK(stop(launcher_.node_folders(job, plan_of(job).value_or(Plan{}))));
  }
  changed(name);
  return answer(job);
}

Result<void> Jobs::fail_running(const std::string& name, const std::string& why) {
  LATHE_TRY(const auto job, db_.write([&](db::Connection& c) -> Result<Job> {
    LATHE_TRY(auto found, find_job(c, name));
    if (found.state != State::running) return fail(Code::conflict, "the job does not run");
    found.error = why;
    LATHE_CHECK(move_job(c, found, State::running));
    return found;
  }));
  return jobs::stop(launcher_.node_folders(job, plan_of(job).value_or(Plan{})));
}

Result<JobAnswer> Jobs::archive(const std::string& name, bool archived) {
  LATHE_CHECK(db_.write([&](db::Connection& c) { return set_archived(c, name, archived); }));
  return show(name);
}

// --- after a restart ---

Result<void> Jobs::start() {
  LATHE_TRY(auto jobs, db_.read([](db::Connection& c) { return unfinished_jobs(c); }));
  std::vector<std::string> queued;
  for (auto& job : jobs) {
    const auto name = job.name;
    const auto compute = job.compute;
    if (auto taken = take_up(std::move(job)); !taken) return fail_in("taking up the job " + name, taken.error());
    const std::lock_guard lock(mutex_);
    if (waiting_.contains(name)) queued.push_back(name);
  }
  LATHE_TRY(const auto past, db_.read([](db::Connection& c) { return ended_jobs(c, now() - kRemembered, kMostRemembered); }));
  for (const auto& job : past) {
    if (!job.prepared) continue;
    compute::Need need;
    need.user = job.created_by;
    need.nodes = std::max<std::int64_t>(static_cast<std::int64_t>(job.nodes.size()), 1);
    compute_.ran(job.compute, need, *job.prepared, *job.ended);
  }
  if (remote_) remote_->start();
  compute::Compute::Calls calls;
  calls.placed = [this](const std::string& job, const compute::Compute::Place& place) { placed(job, place); };
  calls.give_way = [this](const std::string& job, const std::string& winner) {
    tasks_.add([this, job, winner] { give_way(job, winner); });
  };
  calls.end = [this](const std::string& job, const std::string& why) {
    const auto ended = why.empty() ? Result<void>(cancel(job, "compute").map([](const JobAnswer&) {})) : fail_running(job, why);
    if (!ended && ended.error().code != Code::conflict) log::error("a job could not be ended job={} why={}", job, ended.error().message);
  };
  calls.jobs_for = [this](const std::string& target) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(waiting_.begin(), waiting_.end(),
                                                  [&](const auto& one) { return one.second.job.compute == target; }));
  };
  calls.owner = [this](int pid) -> std::optional<std::string> {
    const auto run = process::run_of(pid);
    const auto below = run ? run->lexically_relative(launcher_.root()) : std::filesystem::path();
    if (below.empty() || *below.begin() == "..") return std::nullopt;
    return below.begin()->string();
  };
  compute_.start(std::move(calls));
  for (const auto& name : queued) admit(name);
  return {};
}

Result<void> Jobs::take_up(Job job) {
  if (is_remote(job.compute)) return take_up_remote(job);
  auto plan = plan_of(job);
  const auto folders = launcher_.node_folders(job, plan.value_or(Plan{}));
  bool began = false;
  bool running = false;
  for (const auto& folder : folders) {
    // On several nodes nothing has run before the job was let go, and nothing will: the shims end by themselves.
    if (folders.size() > 1 && !launcher_.let_go(job) && process::observe(folder))
      LATHE_CHECK(process::kill_now(folder));
    const auto seen = process::observe(folder);
    began = began || (seen && seen->status != process::Status::never_started);
    running = running || (seen && seen->status == process::Status::running);
  }
  if (folders.size() > 1) began = launcher_.let_go(job);
  if (began) {
    // Its processes were started, whatever the row says: watch them, or learn how they ended.
    if (running) {
      if (!plan || !plan->variables.contains(kSamplesItself))
        usage_.add(job.name, folders, job.nodes,
                   job.compute == "local" ? compute::Resources{}
                                          : compute_.room_of(job.compute).value_or(compute::Resources{}));
      if (job.nodes.empty()) job.nodes.push_back({job.compute == "local" ? "local" : job.compute + "-0", {}});
      compute_.found(job.name, job.compute, need_of(job, plan.value_or(Plan{})), job.nodes, job.prepared.value_or(now()));
      if (job.state == State::queued || job.state == State::preparing) {
        job.started = now();
        LATHE_CHECK(db_.write([&](db::Connection& c) { return move_job(c, job, State::running); }));
      }
      if (job.state == State::cancel_requested || !job.winner.empty()) LATHE_CHECK(stop(folders));
    }
    for (const auto& folder : folders) LATHE_CHECK(watch_->add(folder));
    return {};
  }
  if (job.state == State::cancel_requested) {
    end_job(std::move(job), Event::put_back);
    return {};
  }
  if (!plan) {
    job.error = "what the job needs could not be read back: " + plan.error().message;
    end_job(std::move(job), Event::broke);
    return {};
  }
  Waiting waiting;
  waiting.plan = std::move(*plan);
  const bool begun = job.state == State::preparing;
  if (begun) {
    ++job.attempt;
    job.nodes.clear();
    job.prepared.reset();
  }
  if (begun) LATHE_CHECK(db_.write([&](db::Connection& c) { return move_job(c, job, State::queued); }));
  job.state = State::queued;
  LATHE_TRY(waiting.user_id, auth_.user_id(job.created_by));
  waiting.job = std::move(job);
  const std::lock_guard lock(mutex_);
  waiting_[waiting.job.name] = std::move(waiting);
  return {};
}

// --- jobs that an engine runs elsewhere ---

RemoteJobs& Jobs::connect(compute::Engine& engine, RemoteOptions options) {
  RemoteJobs::Hooks hooks;
  hooks.changed = [this](const std::string& job) { changed(job); };
  hooks.finish = [this](const std::string& job) { tasks_.add([this, job] { finish(job); }); };
  hooks.end = [this](const std::string& job, Event event, const std::string& why) {
    tasks_.add([this, job, event, why] { end_remote(job, event, why); });
  };
  remote_ = std::make_unique<RemoteJobs>(db_, auth_, engine, launcher_, std::move(options), std::move(hooks));
  return *remote_;
}

bool Jobs::is_remote(const std::string& target) const { return compute_.is_remote(target); }

Result<void> Jobs::take_up_remote(const Job& job) {
  if (!remote_) {
    log::warn("a job on the cluster is left as it is job={} why=\"{}\"", job.name, kNoEngine);
    return {};
  }
  auto plan = plan_of(job);
  if (!plan) {
    end_remote(job.name, Event::broke, "what the job needs could not be read back: " + plan.error().message);
    return {};
  }
  LATHE_TRY(const auto user_id, auth_.user_id(job.created_by));
  return remote_->take_up(job, *plan, user_id);
}

void Jobs::end_remote(const std::string& name, Event event, const std::string& why) {
  auto found = insist([&] { return db_.read([&](db::Connection& c) { return find_job(c, name); }); });
  if (!found) return;
  found->error = why;
  end_job(std::move(*found), event);
}

// --- who wants to know ---

void Jobs::changed(const std::string& name) {
  std::vector<std::shared_ptr<std::function<void()>>> listeners;
  {
    const std::lock_guard lock(mutex_);
    const auto [begin, end] = listeners_.equal_range(name);
    for (auto it = begin; it != end;) {
      if (auto listener = it->second.lock()) {
        listeners.push_back(std::move(listener));
        ++it;
      } else {
        it = listeners_.erase(it);
      }
    }
  }
  for (const auto& listener : listeners) (*listener)();
}

std::shared_ptr<void> Jobs::on_change(const std::string& name, std::function<void()> wake) {
  auto listener = std::make_shared<std::function<void()>>(std::move(wake));
  const std::lock_guard lock(mutex_);
  listeners_.emplace(name, listener);
  return listener;
}

}  // namespace lathe::jobs
