#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "base/held_folder.h"
#include "base/log.h"
#include "base/text.h"
#include "jobs/gang.h"
#include "jobs/jobs.h"
#include "jobs/jobs_shared.h"
#include "jobs/mpi.h"
#include "jobs/remote.h"
#include "jobs/verdict.h"

/// An attempt, from the nodes that it is given to its end, or to the next attempt.
namespace lathe::jobs {
namespace {

/// A job whose node was lost is tried again so often, after a pause that grows fourfold each time.
constexpr std::int64_t kMostLosses = 3;
constexpr auto kFirstPause = std::chrono::seconds{1};
constexpr auto kStorePause = std::chrono::milliseconds{500};

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

}  // namespace

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
    const bool shim_lost = ready && started.error().code == Code::unavailable;
    if (shim_lost && job.losses < kMostLosses)
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
    if (auto asked = ask_to_stop(folders); !asked) log::error("cannot stop job={} why={}", job.name, asked.error().message);
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
  write_end(std::move(job), event);
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
  const auto name = job.name;
  write_end(std::move(job), event);
  compute_.gone(name);
}

void Jobs::write_end(Job job, Event event) {
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
  if (auto asked = ask_to_stop(launcher_.node_folders(**marked, plan.value_or(Plan{}))); !asked)
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

Result<void> Jobs::fail_running(const std::string& name, const std::string& why) {
  LATHE_TRY(const auto job, db_.write([&](db::Connection& c) -> Result<Job> {
    LATHE_TRY(auto found, find_job(c, name));
    if (found.state != State::running) return fail(Code::conflict, "the job does not run");
    found.error = why;
    LATHE_CHECK(move_job(c, found, State::running));
    return found;
  }));
  return ask_to_stop(launcher_.node_folders(job, plan_of(job).value_or(Plan{})));
}

void Jobs::end_remote(const std::string& name, Event event, const std::string& why) {
  auto found = insist([&] { return db_.read([&](db::Connection& c) { return find_job(c, name); }); });
  if (!found) return;
  found->error = why;
  end_job(std::move(*found), event);
}

}  // namespace lathe::jobs
