#include "jobs/jobs.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "jobs/jobs_shared.h"
#include "jobs/remote.h"

namespace lathe::jobs {
namespace {

constexpr int kWorkers = 8;  // most of them wait for a commit or for a program to start

double seconds_between(std::optional<Time> from, std::optional<Time> to) {
  return from && to ? static_cast<double>((*to - *from).count()) / 1e6 : 0;
}

}  // namespace

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

Result<void> ask_to_stop(const std::vector<std::filesystem::path>& folders) {
  Result<void> out;
  for (const auto& folder : folders)
    if (auto asked = process::request_stop(folder); !asked && asked.error().code != Code::not_found)
      out = fail(asked.error());
  return out;
}

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
  LATHE_TRY(auto plan, make_plan(asked, resolvers_, caller, is_remote(asked.compute), report));
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
  std::unique_lock admitting(admitting_);
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
  const bool deleted = admission_->may_queue(name, recipe) && !compute_.queue(name, compute, need, not_before);
  admitting.unlock();
  if (deleted) refuse_waiting(name, fmt::format("its compute {} was deleted", compute));
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

Result<std::optional<std::string>> Jobs::user_of_environment(const std::string& digest) {
  LATHE_TRY(const auto jobs, db_.read([](db::Connection& c) { return unfinished_jobs(c); }));
  for (const auto& job : jobs) {
    const auto plan = plan_of(job);
    if (plan && plan->environment_recipe && plan->environment_recipe->digest() == digest) return job.name;
  }
  return std::nullopt;
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
    const std::lock_guard admitting(admitting_);
    {
      const std::lock_guard lock(mutex_);
      waiting_.erase(name);
    }
    launcher_.drop_empty_checkpoint(name);
    admission_->forget(name);
    compute_.gone(name);
  } else {
    LATHE_CHECK(ask_to_stop(launcher_.node_folders(job, plan_of(job).value_or(Plan{}))));
  }
  changed(name);
  return answer(job);
}

Result<JobAnswer> Jobs::archive(const std::string& name, bool archived) {
  LATHE_CHECK(db_.write([&](db::Connection& c) { return set_archived(c, name, archived); }));
  return show(name);
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
