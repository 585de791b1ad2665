#include <algorithm>

#include "base/log.h"
#include "jobs/jobs.h"
#include "jobs/jobs_shared.h"
#include "jobs/remote.h"
#include "process/owner.h"

/// What an earlier server left is taken up.
namespace lathe::jobs {
namespace {

/// What ended earlier counts in nobody's share of the machine any more.
constexpr auto kRemembered = std::chrono::hours{24 * 8};
constexpr std::int64_t kMostRemembered = 2000;

}  // namespace

Result<void> Jobs::start() {
  LATHE_TRY(auto jobs, db_.read([](db::Connection& c) { return unfinished_jobs(c); }));
  std::vector<std::string> queued;
  for (auto& job : jobs) {
    const auto name = job.name;
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
    if (run && run->parent_path() == launcher_.data() / "infer") return compute::kDeployments;
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
      if (job.state == State::cancel_requested || !job.winner.empty()) LATHE_CHECK(ask_to_stop(folders));
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
  if (job.state == State::preparing) {
    ++job.attempt;
    job.nodes.clear();
    job.prepared.reset();
    LATHE_CHECK(db_.write([&](db::Connection& c) { return move_job(c, job, State::queued); }));
  }
  job.state = State::queued;
  LATHE_TRY(waiting.user_id, auth_.user_id(job.created_by));
  waiting.job = std::move(job);
  const std::lock_guard lock(mutex_);
  waiting_[waiting.job.name] = std::move(waiting);
  return {};
}

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

}  // namespace lathe::jobs
