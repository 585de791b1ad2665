#include "jobs/remote.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "json/json.h"
#include "tracking/tracking.h"

namespace lathe::jobs {
namespace {

using compute::Sighting;
using Where = Sighting::Where;

constexpr std::size_t kKeyBytes = 8;
constexpr std::size_t kTokenBytes = 24;
constexpr std::int64_t kMostLosses = 3;
constexpr std::int64_t kMostVain = 20;  // attempts that never began
constexpr auto kLook = std::chrono::seconds{1};
constexpr auto kSettle = std::chrono::seconds{15};        // for nodes to end what they run
constexpr auto kLongestDelay = std::chrono::seconds{60};  // of an attempt after ones that never began
constexpr auto kGrace = std::chrono::milliseconds{10'000};

std::string reason_of(const std::string& record) {
  const auto parsed = json::parse_object(record);
  return parsed ? json::get_string(*parsed, "reason").value_or("").value_or("") : "";
}

std::string seconds_words(std::chrono::steady_clock::duration time) {
  return fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(time).count());
}

}  // namespace

RemoteJobs::RemoteJobs(db::Database& db, auth::Auth& auth, compute::Engine& engine, Launcher& launcher,
                       RemoteOptions options, Hooks hooks)
    : db_(db),
      auth_(auth),
      engine_(engine),
      launcher_(launcher),
      options_(std::move(options)),
      hooks_(std::move(hooks)) {}

RemoteJobs::~RemoteJobs() {
  engine_.stop();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  look_.notify_all();
  if (watch_.joinable()) watch_.join();
}

void RemoteJobs::start() {
  engine_.start([this](const std::string&) {
    {
      const std::lock_guard lock(mutex_);
      looking_ = true;
    }
    look_.notify_one();
  });
  watch_ = std::thread([this] { keep_watch(); });
}

// --- from submission to the engine ---

Result<void> RemoteJobs::check(const std::string& target, const Plan& plan) const {
  compute::Order order;
  order.target = target;
  order.nodes = plan.spread().nodes;
  order.time_limit_s = plan.timeout_s;
  if (const auto why = engine_.never_runs(order); !why.empty())
    return fail(Code::invalid, fmt::format("compute: the job could never start on {}: {}", target, why));
  return {};
}

Result<RemoteRow> RemoteJobs::prepare(db::Connection& c, const std::string& job, std::string& token) {
  token = random_hex(kTokenBytes);
  RemoteRow row;
  row.job = job;
  row.key = random_hex(kKeyBytes);
  row.token_hash = sha256_hex(token);
  LATHE_CHECK(insert_remote(c, row));
  return row;
}

compute::Order RemoteJobs::order_of(const Live& live, const std::string& token) const {
  compute::Order order;
  order.attempt = live.row.id();
  order.job = live.job.name;
  order.target = live.job.compute;
  order.user = live.job.created_by;
  order.nodes = static_cast<std::int64_t>(live.nodes.size());
  order.time_limit_s = live.plan.timeout_s;
  order.priority = live.plan.priority.value_or("");
  order.tier = live.plan.job_tier.value_or("");
  order.script = options_.script(options_.url, order.attempt, token);
  return order;
}

RemoteJobs::LivePtr RemoteJobs::add(const Job& job, const Plan& plan, std::int64_t user_id, const RemoteRow& row) {
  auto live = std::make_shared<Live>();
  live->job = job;
  live->plan = plan;
  live->user_id = user_id;
  live->row = row;
  live->grace = kGrace;
  live->nodes.resize(static_cast<std::size_t>(plan.spread().nodes));
  const std::lock_guard lock(mutex_);
  by_attempt_[row.id()] = live;
  attempt_of_[job.name] = row.id();
  return live;
}

void RemoteJobs::submit(const Job& job, const Plan& plan, std::int64_t user_id, const RemoteRow& row,
                        const std::string& token) {
  const auto live = add(job, plan, user_id, row);
  hand_over(live, order_of(*live, token));
}

void RemoteJobs::hand_over(const LivePtr& live, compute::Order order) {
  const auto attempt = order.attempt;
  engine_.submit(std::move(order));
  const std::lock_guard lock(live->mutex);
  if (!live->over || !live->cancelled) return;
  engine_.cancel(attempt);  // it was cancelled when the engine did not know it yet
  engine_.forget(attempt);
}

Result<void> RemoteJobs::take_up(const Job& job, const Plan& plan, std::int64_t user_id) {
  LATHE_TRY(const auto row, db_.read([&](db::Connection& c) { return find_remote(c, job.name); }));
  if (!row) {
    hooks_.end(job.name, Event::broke, "what the cluster was told of the job is not in the store");
    return {};
  }
  const auto live = add(job, plan, user_id, *row);
  live->cancelled = job.state == State::cancel_requested;
  live->running = job.state == State::running || live->cancelled;
  if (!row->nodes_json.empty()) recall_nodes(*live);
  if (read_file(node_folder(*live, 0) / "exit.json")) {
    live->over = true;
    hooks_.finish(job.name);
    return {};
  }
  // What it was submitted with is known to Slurm alone; an attempt that Slurm does not know gets a successor.
  engine_.follow(order_of(*live, ""));
  if (live->cancelled) ask_to_stop(*live, live->grace);
  return {};
}

void RemoteJobs::cancel(const std::string& job) {
  auto live = of_job(job);
  if (!live) return;
  std::unique_lock lock(live->mutex);
  if (live->over) {  // another attempt may have taken its place while we waited for the lock
    const auto now = of_job(job);
    if (now != live) {
      lock.unlock();
      if (!now) return;
      live = now;
      lock = std::unique_lock(live->mutex);
    }
  }
  live->cancelled = true;
  if (live->begun) {
    ask_to_stop(*live, live->grace);
    return;
  }
  live->over = true;
  const auto attempt = live->row.id();
  lock.unlock();
  engine_.cancel(attempt);
  ended(job);
}

void RemoteJobs::ask_to_stop(Live& live, std::chrono::milliseconds grace) {
  live.grace = grace;
  if (!live.stop_since) live.stop_since = Clock::now();
  engine_.wake(live.row.id());
}

void RemoteJobs::ended(const std::string& job) {
  std::string attempt;
  {
    const std::lock_guard lock(mutex_);
    const auto found = attempt_of_.find(job);
    if (found == attempt_of_.end()) return;
    attempt = found->second;
    by_attempt_.erase(attempt);
    attempt_of_.erase(found);
  }
  engine_.forget(attempt);
  drop_parts(job);
  if (const auto gone = db_.write([&](db::Connection& c) { return delete_remote(c, job); }); !gone)
    log::warn("a row of an ended job stays job={} why={}", job, gone.error().message);
}

RemoteJobs::LivePtr RemoteJobs::of_job(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  const auto attempt = attempt_of_.find(job);
  return attempt == attempt_of_.end() ? nullptr : by_attempt_.at(attempt->second);
}

std::string RemoteJobs::waiting_for(const std::string& job) const {
  const auto live = of_job(job);
  return live ? engine_.explain(live->row.id()) : "";
}

std::string RemoteJobs::notice(const std::string& job) const {
  const auto live = of_job(job);
  if (!live) return {};
  std::string out = engine_.trouble();
  const std::lock_guard lock(live->mutex);
  for (const auto& node : live->nodes) {
    if (!node.claimed || node.ended || Clock::now() - node.heard < options_.lease) continue;
    if (!out.empty()) out += "; ";
    out += fmt::format("{} has not been heard from for {}", node.about.host, seconds_words(Clock::now() - node.heard));
  }
  if (!out.empty()) out = "this is its last known state: " + out;
  if (!live->not_kept.empty()) out += (out.empty() ? "" : "; ") + live->not_kept;
  return out;
}

bool RemoteJobs::waits_for_nobody(const Live& live) {
  const auto spread = live.plan.spread();
  const auto helpers = helper_nodes(spread);
  for (std::size_t i = 0; i < live.nodes.size(); ++i)
    if (!live.nodes[i].ended && !helpers[i] && !(i > 0 && spread.type == "mpi")) return false;
  return true;
}

// --- looking after them ---

void RemoteJobs::keep_watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    look_.wait_for(lock, kLook, [&] { return stopping_ || looking_; });
    looking_ = false;
    std::vector<LivePtr> all;
    for (const auto& [attempt, live] : by_attempt_) all.push_back(live);
    lock.unlock();
    for (const auto& live : all) look_after(live);
    lock.lock();
  }
}

void RemoteJobs::look_after(const LivePtr& live) {
  std::unique_lock lock(live->mutex);
  if (live->over) return;
  const auto seen = engine_.look(live->row.id());
  if (!live->begun) {
    look_after_waiting(live, lock, seen);
    return;
  }
  if (live->stop_since && Clock::now() - *live->stop_since > live->grace + kSettle) {
    engine_.cancel(live->row.id());  // nobody listened
    live->stop_since = Clock::now();
    live->cut_off = true;
  }
  if (live->decided || waits_for_nobody(*live)) {
    conclude(live, lock, seen);
    return;
  }
  bool silent = false;
  for (const auto& node : live->nodes) silent = silent || (!node.ended && Clock::now() - node.heard > options_.lease);
  // Its nodes say nothing, and neither does Slurm claim that it runs.
  if (!silent || seen.where != Where::over) return;
  if (live->cancelled || (seen.cancelled && !live->cut_off)) {
    live->over = true;
    const auto job = live->job.name;
    lock.unlock();
    hooks_.end(job, Event::stopped, "");
    return;
  }
  if (seen.timed_out) {
    live->over = true;
    const auto job = live->job.name;
    lock.unlock();
    hooks_.end(job, Event::broke, "Slurm ended the job: " + seen.words + ".");
    return;
  }
  try_again(live, lock, seen.words, true);
}

void RemoteJobs::look_after_waiting(const LivePtr& live, std::unique_lock<std::mutex>& lock, const Sighting& seen) {
  if (seen.where != Where::refused && seen.where != Where::over) return;
  if (seen.where == Where::over && (seen.lost || seen.lost_unless_begun)) {
    try_again(live, lock, seen.words, false);
    return;
  }
  live->over = true;
  const auto job = live->job.name;
  lock.unlock();
  if (seen.where == Where::refused)
    hooks_.end(job, Event::broke, "Slurm did not take the job: " + seen.words);
  else if (seen.cancelled)
    hooks_.end(job, Event::stop_asked, "");
  else
    hooks_.end(
        job, Event::broke,
        fmt::format("The job never began: Slurm started it on {}, and {} before it reached this server. Can the nodes "
                    "reach {}, and fetch lathe-remote from there (slurm_url)?",
                    seen.nodes.empty() ? "a node" : seen.nodes, seen.words, options_.url));
}

/// Some node has ended, and with it the job; or all have.
void RemoteJobs::conclude(const LivePtr& live, std::unique_lock<std::mutex>& lock, const Sighting& seen) {
  const auto now = Clock::now();
  if (!live->ended_since) live->ended_since = now;
  const bool all_ended = std::all_of(live->nodes.begin(), live->nodes.end(), [&](const Node& node) {
    return node.ended || (node.claimed && now - node.heard > options_.lease);
  });
  if (!all_ended && now - *live->ended_since < live->grace + kSettle) return;

  const auto decider = live->decided.value_or(0);
  bool timed_out = false;
  if (reason_of(live->nodes[decider].record) == "stopped" && !live->cancelled) {
    // Slurm stopped it. Why, it says when it is over. Nobody's wish but that of who cancels it there counts: what else
    // ends a job's step, a broken connection between Slurm's own programs too, is worth another attempt.
    if (seen.where != Where::over) return;
    if ((!seen.cancelled || live->cut_off) && !seen.timed_out) {
      try_again(live, lock, seen.words, true);
      return;
    }
    timed_out = seen.timed_out;
  }
  live->over = true;
  const auto job = live->job.name;
  const auto problem = live->nodes[decider].problem;
  const bool mpi = live->plan.spread().type == "mpi";
  for (std::size_t i = live->nodes.size(); i-- > 0;) {  // the first node's last: when it is there, all are
    auto record = json::parse_object(live->nodes[i].record);
    if (!live->nodes[i].ended || !record) continue;  // lost
    const bool stopped = reason_of(live->nodes[i].record) == "stopped";
    if (stopped && timed_out) (*record)["reason"] = "timeout";
    if (stopped && mpi && i > 0) {  // it only waited for mpirun's end
      (*record)["reason"] = "exited";
      (*record)["code"] = 0;
    }
    if (const auto written = write_file(node_folder(*live, i) / "exit.json", json::print(*record)); !written) {
      live->over = false;  // a full disk: at the next look
      log::error("a job's end cannot be written job={} why={}", job, written.error().message);
      return;
    }
  }
  lock.unlock();
  if (problem.empty())
    hooks_.finish(job);
  else
    hooks_.end(job, Event::broke, problem);
}

/// The next attempt, later the more there were. `lost`: this one had begun.
void RemoteJobs::try_again(const LivePtr& live, std::unique_lock<std::mutex>& lock, const std::string& why, bool lost) {
  auto next = live->row;
  ++next.attempt;
  if (lost) ++next.losses;
  const auto vain = next.attempt - 1 - next.losses;
  if (!lost && vain >= kMostVain) {
    live->over = true;
    const auto job = live->job.name;
    lock.unlock();
    hooks_.end(job, Event::broke, fmt::format("The job never began in {} attempts: {}", vain, why));
    return;
  }
  if (next.losses > kMostLosses) {
    live->over = true;
    const auto job = live->job.name;
    lock.unlock();
    hooks_.finish(job);  // there is no exit record: it was lost
    return;
  }
  const auto token = random_hex(kTokenBytes);
  next.token_hash = sha256_hex(token);
  next.nodes_json.clear();
  auto job = live->job;
  const auto moved = db_.write([&](db::Connection& c) -> Result<bool> {
    LATHE_TRY(job, find_job(c, job.name));
    if (is_final(job.state) || job.state == State::cancel_requested) return false;
    LATHE_TRY(const bool ours, update_remote(c, next));
    if (!ours) return false;
    job.attempt = next.attempt;
    job.nodes.clear();
    job.prepared.reset();
    job.started.reset();
    job.user_code.reset();
    LATHE_CHECK(move_job(c, job, State::queued));
    job.state = State::queued;
    LATHE_CHECK(tracking::set_run_status(c, job.name, tracking::RunStatus::scheduled, std::nullopt));
    LATHE_CHECK(auth_.revoke_job_token(c, job.name));
    return true;
  });
  if (!moved || !*moved) return;  // at the next look; or it ends in another way
  log::warn("another attempt job={} attempt={} why=\"{}\"", job.name, next.attempt, why);
  live->over = true;
  const auto old = live->row.id();
  const auto again = add(job, live->plan, live->user_id, next);
  lock.unlock();
  {
    const std::lock_guard all(mutex_);
    by_attempt_.erase(old);
  }
  engine_.cancel(old);
  engine_.forget(old);
  auto order = order_of(*again, token);
  order.delay = lost ? std::chrono::seconds{1 << next.losses}
                     : std::min(kLongestDelay, std::chrono::seconds{1} * (std::int64_t{1} << (vain - 1)));
  hand_over(again, std::move(order));
  hooks_.changed(job.name);
}

}  // namespace lathe::jobs
