#include "compute/scheduler.h"

#include <algorithm>

#include "base/overloaded.h"

namespace lathe::compute {
namespace {

constexpr std::size_t kRunTimes = 20;
/// A running job's use is charged in advance, so that users take turns also at one moment: a minute, then as long again as
/// it has run, at most a half-life.
constexpr auto kFirstCharge = std::chrono::minutes{1};

int rank_of(const Need& need, const Policy& policy) {
  return policy.tiers ? static_cast<int>(need.tier) * 3 + static_cast<int>(need.priority) : 0;
}

}  // namespace

Scheduler::Scheduler(const Resources& machine, Policy policy)
    : machine_(machine), policy_(policy), ledger_(machine), share_(policy.half_life) {}

std::vector<Decision> Scheduler::apply(const Event& event, Time now) {
  std::vector<Decision> out;
  charge_running(now);
  handle(event, now, out);
  balance(now, out);
  return out;
}

void Scheduler::handle(const Event& event, Time now, std::vector<Decision>& out) {
  std::visit(Overloaded{[&](const TargetPut& put) {
                          auto& target = targets_[put.rules.name];
                          target.rules = put.rules;
                          look_at_bars();
                          for (auto& [name, user] : users_) refresh_user(user);
                          drop_unfit(target, out);
                        },
                        [&](const TargetGone& gone) {
                          const auto found = targets_.find(gone.name);
                          if (found == targets_.end() || found->second.waiting + found->second.running > 0) return;
                          auto& target = found->second;
                          while (!target.nodes.empty())
                            drop_node(target, target.nodes.begin()->first, "its compute was deleted", out);
                          for (auto& [name, user] : users_)
                            std::erase_if(user.lines, [&](const auto& line) { return line->target == gone.name; });
                          targets_.erase(found);
                        },
                        [&](const JobQueued& queued) {
                          auto* job = add_job(queued.job, queued.target, queued.need);
                          if (job == nullptr) return;
                          ++target_of(*job).waiting;
                          if (queued.not_before > now) pause(*job, queued.not_before);
                          else enter_line(*job);
                        },
                        [&](const JobFound& it) { found(it, now); },
                        [&](const Resumed& resumed) {
                          for (const auto& rules : resumed.targets) handle(TargetPut{rules}, now, out);
                          for (const auto& job : resumed.jobs) found(job, now);
                        },
                        [&](const JobGone& it) { gone(it.job, it.outcome, now, out); },
                        [&](const JobRan& ran) {
                          const auto target = targets_.find(ran.target);
                          if (target == targets_.end()) return;
                          auto& user = user_of(ran.need.user);
                          user.used += share_.charge(share_of(target->second, ran.need.nodes), ran.from, ran.to);
                          refresh_user(user);
                          auto& times = target->second.run_times;
                          times.push_back(ran.to - ran.from);
                          if (times.size() > kRunTimes) times.pop_front();
                        },
                        [&](const QuotasPut& put) {
                          quotas_ = put.nodes;
                          look_at_bars();
                          for (auto& [name, user] : users_) refresh_user(user);
                        },
                        [&](const GpusBusy& busy) {
                          busy_gpus_ = busy.gpus;
                          ledger_.set_busy(busy.gpus);
                          for (auto& [name, target] : targets_) drop_unfit(target, out);
                        },
                        [](const Tick&) {}},
             event);
}

void Scheduler::balance(Time now, std::vector<Decision>& out) {
  while (!paused_.empty() && std::get<Time>(*paused_.begin()) <= now) {
    auto* job = std::get<Job*>(*paused_.begin());
    paused_.erase(paused_.begin());
    enter_line(*job);
  }
  for (auto& [name, target] : targets_)
    for (auto& [number, node] : target.nodes)
      if (target.rules.works && !(node.has == target.rules.node)) resize(target, node, out);
  for (auto& [name, target] : targets_)
    while (target.rules.holds && target.size() < target.rules.min_nodes &&
           (ledger_.fits(target.rules.node) || make_room(target, 1, out)))
      start_node(target, now, out);
  std::vector<Reservation> blocked;
  place_in_order(now, blocked, out);
  if (policy_.backfill) backfill(now, blocked, out);
  if (policy_.preempt)
    for (const auto& reservation : blocked) preempt(reservation, now, out);
  for (auto& [name, target] : targets_) target.keeps_idle = false;
  for (const auto& reservation : blocked)
    if (auto& target = target_of(*reservation.job); !reservation.hopeless && target.line.first() == reservation.job)
      target.keeps_idle = reservation.job->need.nodes > target.idle_count();
  for (auto& [name, target] : targets_) keep_sizes(target, now, out);
}

Job* Scheduler::add_job(const std::string& name, const std::string& target, const Need& need) {
  if (!targets_.contains(target)) return nullptr;
  const auto [at, added] = jobs_.try_emplace(name);
  if (!added) return nullptr;
  auto& job = at->second;
  job.name = &at->first;
  job.target = target;
  job.need = need;
  job.need.nodes = std::max<std::int64_t>(need.nodes, 1);
  job.user = &user_of(need.user);
  job.rank = rank_of(need, policy_);
  job.arrival = ++last_arrival_;
  return &job;
}

/// Whether its target, or its user, may not have as many nodes as it wants, whatever runs.
bool Scheduler::barred(const Job& job) const {
  const auto& rules = target_of(job).rules;
  const auto most = [&](std::int64_t quota) { return quota >= 0 && job.need.nodes > quota; };
  return (!rules.local && !rules.holds && job.need.nodes > rules.max_nodes) || most(quota_of(job.need.user)) ||
         most(rules.max_nodes_per_user);
}

void Scheduler::pause(Job& job, Time until) {
  job.state = Job::State::paused;
  job.not_before = until;
  paused_.insert({until, job.arrival, &job});
}

/// After a change of rules or quotas.
void Scheduler::look_at_bars() {
  for (auto& [name, job] : jobs_) {
    if (job.state == Job::State::waiting && barred(job)) {
      job.user->line(job.target, job.rank).jobs.erase(job.place());
      pause(job, Time::max());
    } else if (job.state == Job::State::paused && job.not_before == Time::max() && !barred(job)) {
      paused_.erase({job.not_before, job.arrival, &job});
      enter_line(job);
    }
  }
}

void Scheduler::enter_line(Job& job) {
  if (barred(job)) return pause(job, Time::max());
  job.state = Job::State::waiting;
  job.not_before = {};
  auto& line = job.user->line(job.target, job.rank);
  line.jobs.insert({job.place(), &job});
  target_of(job).line.list(line, policy_.fair ? job.user->used + job.user->deposits : 0,
                           within_quota(*line.jobs.begin()->second));
}

void Scheduler::found(const JobFound& event, Time now) {
  auto* job = add_job(event.job, event.target, event.need);
  if (job == nullptr) return;
  auto& target = target_of(*job);
  const auto since = event.since == Time{} ? now : event.since;
  for (const auto& given : event.nodes) {
    if (target.rules.local) continue;
    // A node of the minimum may have been started under its name.
    auto at = std::find_if(target.nodes.begin(), target.nodes.end(), [&](const auto& node) { return node.second.name == given.name; });
    if (at != target.nodes.end() && at->second.job != nullptr) continue;
    auto& node = at != target.nodes.end() ? at->second : add_node(target, given.name, since);
    if (at != target.nodes.end()) ledger_.give_back(node.has, node.gpus);
    node.gpus = given.gpus;
    node.has = target.rules.node;
    ledger_.take_again(node.has, node.gpus);
    occupy(target, node, *job, since);
  }
  begin(*job, since);
}

void Scheduler::gone(const std::string& name, Outcome outcome, Time now, std::vector<Decision>& out) {
  const auto at = jobs_.find(name);
  if (at == jobs_.end()) return;
  auto& job = at->second;
  auto& target = target_of(job);
  switch (job.state) {
    case Job::State::paused:
      paused_.erase({job.not_before, job.arrival, &job});
      --target.waiting;
      break;
    case Job::State::waiting: {
      auto& line = job.user->line(job.target, job.rank);
      line.jobs.erase(job.place());
      --target.waiting;
      refresh_user(*job.user);
      break;
    }
    case Job::State::running:
    case Job::State::leaving:
      for (const auto number : job.nodes) {
        auto& node = target.nodes.at(number);
        node.job = nullptr;
        const auto why = unfit(target, node);
        if (why.empty()) set_idle(target, node, now);
        else drop_node(target, number, why, out);
      }
      finish(job, outcome, now);
      break;
  }
  jobs_.erase(at);
}

/// What follows when a job has its nodes.
void Scheduler::begin(Job& job, Time since) {
  auto& target = target_of(job);
  auto& user = *job.user;
  job.state = Job::State::running;
  job.since = since;
  job.start_order = ++last_start_;
  job.ends = job.need.limit.count() > 0 ? since + job.need.limit : Time::max();
  job.share = share_of(target, job.need.nodes);
  job.charged = since + kFirstCharge;
  job.deposit = share_.charge(job.share, since, job.charged);
  user.deposits += job.deposit;
  user.nodes += job.need.nodes;
  target.held_by[&user] += job.need.nodes;
  ++target.running;
  charges_.insert({job.charged, job.start_order, &job});
  if (job.ends != Time::max()) ends_.insert({job.ends, job.start_order, &job});
  if (gives_way(job)) giving_way_.insert({job.since, job.start_order, &job});
  refresh_user(user);
}

void Scheduler::finish(Job& job, Outcome outcome, Time now) {
  auto& target = target_of(job);
  auto& user = *job.user;
  charges_.erase({job.charged, job.start_order, &job});
  ends_.erase({job.ends, job.start_order, &job});
  giving_way_.erase({job.since, job.start_order, &job});
  leaving_.erase({job.since, job.start_order, &job});
  user.deposits -= job.deposit;
  user.used += share_.charge(job.share, job.since, now);
  user.nodes -= job.need.nodes;
  if ((target.held_by[&user] -= job.need.nodes) == 0) target.held_by.erase(&user);
  --target.running;
  if (outcome == Outcome::ended) {
    target.run_times.push_back(now - job.since);
    if (target.run_times.size() > kRunTimes) target.run_times.pop_front();
  }
  refresh_user(user);
}

/// Brings the use of running jobs up to `now`, and keeps sums small.
void Scheduler::charge_running(Time now) {
  if (const int shift = share_.advance(now); shift > 0) {
    for (auto& [name, user] : users_) {
      user.used >>= shift;
      user.deposits = 0;
    }
    for (const auto& [until, order, job] : charges_) {
      job->deposit = share_.charge(job->share, job->since, job->charged);
      job->user->deposits += job->deposit;
    }
    for (auto& [name, user] : users_) refresh_user(user);
  }
  while (!charges_.empty() && std::get<Time>(*charges_.begin()) <= now) {
    auto& job = *std::get<Job*>(*charges_.begin());
    charges_.erase(charges_.begin());
    job.charged += std::min<Time::duration>(job.charged - job.since, policy_.half_life);
    job.user->deposits -= job.deposit;
    job.deposit = share_.charge(job.share, job.since, job.charged);
    job.user->deposits += job.deposit;
    charges_.insert({job.charged, job.start_order, &job});
    refresh_user(*job.user);
  }
}

/// After a change of what the user has used, has, or may have: puts the user's lines where they belong now.
void Scheduler::refresh_user(User& user) {
  const auto score = policy_.fair ? user.used + user.deposits : 0;
  for (auto& line : user.lines) {
    const bool open = !line->jobs.empty() && within_quota(*line->jobs.begin()->second);
    targets_.at(line->target).line.list(*line, score, open);
  }
}

std::int64_t Scheduler::quota_of(const std::string& user) const {
  auto found = quotas_.find(user);
  if (found == quotas_.end()) found = quotas_.find("*");
  return found == quotas_.end() ? -1 : found->second;
}

bool Scheduler::within_quota(const Job& job) const {
  const auto& target = target_of(job);
  const auto quota = quota_of(job.need.user);
  if (quota >= 0 && job.user->nodes + job.need.nodes > quota) return false;
  if (target.rules.max_nodes_per_user < 0) return true;
  const auto held = target.held_by.find(job.user);
  return (held == target.held_by.end() ? 0 : held->second) + job.need.nodes <= target.rules.max_nodes_per_user;
}

/// In millionths.
std::int64_t Scheduler::share_of(const Target& target, std::int64_t nodes) const {
  return std::max<std::int64_t>(static_cast<std::int64_t>(dominant_share(target.rules, nodes, machine_) * 1e6), 1);
}

User& Scheduler::user_of(const std::string& name) {
  auto& user = users_[name];
  user.name = name;
  return user;
}

std::size_t Scheduler::waiting(const std::string& target) const {
  const auto found = targets_.find(target);
  return found == targets_.end() ? 0 : found->second.waiting;
}

std::size_t Scheduler::running(const std::string& target) const {
  const auto found = targets_.find(target);
  return found == targets_.end() ? 0 : found->second.running;
}

}  // namespace lathe::compute
