#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <queue>

#include "compute/scheduler.h"

/// Why a job waits, in words.
namespace lathe::compute {
namespace {

/// Fewer run times than this say nothing.
constexpr std::size_t kFewestRunTimes = 3;
/// With more jobs before it than this, a job gets no estimate.
constexpr std::size_t kMostBefore = 10'000;
/// How many jobs a sentence names.
constexpr std::size_t kMostNames = 3;

std::string long_words(std::chrono::microseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (seconds < 120) return fmt::format("{} s", std::max<std::int64_t>(seconds, 0));
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  return fmt::format("{} h", seconds / 3600);
}

std::chrono::microseconds median(const std::deque<std::chrono::microseconds>& times) {
  std::vector<std::chrono::microseconds> sorted(times.begin(), times.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

std::string nodes_words(std::int64_t count) { return count == 1 ? "1 node" : fmt::format("{} nodes", count); }

std::string names(const std::vector<std::string>& all) {
  if (all.size() <= kMostNames) return fmt::format("{}", fmt::join(all, ", "));
  return fmt::format("{} and {} more", fmt::join(all.begin(), all.begin() + kMostNames, ", "), all.size() - kMostNames);
}

}  // namespace

std::string Why::sentence(Time now) const {
  std::string out = reason;
  if (place == 1) out += "; it is first in line";
  if (place > 1) out += fmt::format("; {} ahead of it", place - 1);
  if (start) out += fmt::format("; it is expected to start {} ({})", *start <= now ? "at any moment" : "in about " + long_words(*start - now), basis);
  else if (!basis.empty()) out += "; " + basis;
  if (!remedy.empty()) out += "; sooner with " + remedy;
  return out;
}

std::map<std::int64_t, const Job*> Scheduler::jobs_in(const Target& target) const {
  std::map<std::int64_t, const Job*> out;
  for (const auto& [until, order, job] : charges_)
    if (job->target == target.rules.name) out[order] = job;
  return out;
}

std::int64_t Scheduler::place_of(const Job& job) const {
  if (job.state != Job::State::waiting) return 0;
  const auto line = std::find_if(job.user->lines.begin(), job.user->lines.end(), [&](const auto& one) { return one->rank == job.rank && one->target == job.target; });
  return (*line)->listed ? target_of(job).line.before(**line, job) + 1 : 0;
}

std::string Scheduler::reason(const Job& job) const {
  const auto& target = target_of(job);
  const auto& rules = target.rules;
  if (barred(job)) return "cannot start as things are: " + impossible(job.target, job.need);
  if (job.state == Job::State::paused)
    return fmt::format("waits until {} before it is tried again, since its node was lost", to_iso8601(job.not_before));
  if (!within_quota(job)) {
    const auto held = target.held_by.find(job.user);
    const auto here = held == target.held_by.end() ? 0 : held->second;
    if (rules.max_nodes_per_user >= 0 && here + job.need.nodes > rules.max_nodes_per_user)
      return fmt::format("waits for its user's quota: jobs of {} have {} of {}, of {} that one user may have", job.need.user, nodes_words(here), rules.name, rules.max_nodes_per_user);
    return fmt::format("waits for its user's quota: jobs of {} have {}, of {} that they may have", job.need.user, nodes_words(job.user->nodes), quota_of(job.need.user));
  }
  if (rules.local && static_cast<std::int64_t>(target.running) >= rules.slots)
    return fmt::format("waits for one of the {} places of the local compute", rules.slots);
  if (!rules.local && rules.max_nodes == 0) return fmt::format("waits for {} to be started", rules.name);
  if (!rules.local && !fits(job)) {
    const auto free = target.idle_count() + rules.max_nodes - target.size();
    if (free < job.need.nodes && rules.max_nodes == 1)
      return fmt::format("waits for {}: its only node is busy", rules.name);
    if (free < job.need.nodes && job.need.nodes == 1)
      return fmt::format("waits for a node of {}: all {} that it may have are busy", rules.name, rules.max_nodes);
    if (free < job.need.nodes)
      return fmt::format("waits for {} of {} at once: {} of the {} that it may have are busy", nodes_words(job.need.nodes), rules.name, rules.max_nodes - free, rules.max_nodes);
    const auto missing = job.need.nodes - target.idle_count();
    if (missing == 1)
      return fmt::format("waits for {} to be free on this machine for another node of {}: {} are free", rules.node.words(), rules.name, ledger_.free().words());
    return fmt::format("waits for {} times {} to be free on this machine for more nodes of {}: {} are free", missing, rules.node.words(), rules.name, ledger_.free().words());
  }
  if (const auto* first = target.line.first(); first != nullptr && first != &job)
    return fmt::format("waits for {}, which is first in line and must not be delayed", *first->name);
  return "waits for room that is kept for a job that came first on other compute";
}

std::string Scheduler::waiting_for(const std::string& name) const {
  const auto found = jobs_.find(name);
  if (found == jobs_.end()) return {};
  const auto& job = found->second;
  if (job.state != Job::State::waiting && job.state != Job::State::paused) return {};
  const auto place = place_of(job);
  if (place == 0) return reason(job);
  return reason(job) + (place == 1 ? " (first in line)" : fmt::format(" ({} ahead of it)", place - 1));
}

std::optional<Why> Scheduler::why(const std::string& name, Time now) const {
  const auto found = jobs_.find(name);
  if (found == jobs_.end()) return std::nullopt;
  const auto& job = found->second;
  if (job.state != Job::State::waiting && job.state != Job::State::paused) return std::nullopt;
  Why why;
  why.reason = reason(job);
  why.place = place_of(job);
  if (why.place > 0) estimate(job, now, why);
  why.remedy = remedy(job, now);
  return why;
}

/// Plays what waits before it through, each job taking what jobs took here lately, or else what it may take at most.
void Scheduler::estimate(const Job& job, Time now, Why& why) const {
  const auto& target = target_of(job);
  const auto& rules = target.rules;
  if (!rules.local && rules.max_nodes == 0) return;  // it is stopped: nobody knows for how long
  const bool known = target.run_times.size() >= kFewestRunTimes;
  const auto usual = known ? median(target.run_times) : std::chrono::microseconds{0};
  const auto takes = [&](const Job& one) -> std::optional<std::chrono::microseconds> {
    const bool limited = one.need.limit.count() > 0;
    if (known) return limited ? std::min<std::chrono::microseconds>(usual, one.need.limit) : usual;
    return limited ? std::optional<std::chrono::microseconds>(one.need.limit) : std::nullopt;
  };
  const auto unknown = [&](const Job& one) {
    why.basis = fmt::format("no estimate, since {} has no limits.timeout and fewer than {} jobs have ended on {}", *one.name, kFewestRunTimes, rules.name);
  };
  why.basis = known ? fmt::format("by the median of the last {} run times on {}, {}", target.run_times.size(), rules.name, long_words(usual))
                    : "by the time limits of those before it, at the latest";

  std::priority_queue<Time, std::vector<Time>, std::greater<>> free;  // when each node can be had
  auto more = rules.local ? rules.slots - static_cast<std::int64_t>(target.running) : rules.max_nodes - target.size();
  if (!rules.local) {
    Ledger room = ledger_;
    for (const auto& [spare, number] : spare_nodes(target)) room.give_back(spare->nodes.at(number).has, spare->nodes.at(number).gpus);
    while (more > 0 && !room.fits(rules.node, more)) --more;
    for (auto idle = target.idle_count(); idle > 0; --idle) free.push(now);
  }
  for (; more > 0; --more) free.push(now);
  for (const auto& [name, other] : jobs_in(target)) {
    const auto long_ = takes(*other);
    if (!long_) return unknown(*other);
    for (auto count = other->need.nodes; count > 0; --count) free.push(std::max(now, other->since + *long_));
  }
  if (static_cast<std::int64_t>(free.size()) < job.need.nodes) {
    // Other compute has the machine: what its jobs may take at most is all that is known.
    Reservation reservation(job);
    reckon(reservation, now);
    why.start = why.place == 1 ? reservation.start : std::nullopt;
    why.basis = why.start ? "by the time limits of the jobs that run, at the latest" : "no estimate, since other compute has the machine";
    return;
  }
  const auto before = target.line.all_before(job, kMostBefore);
  if (before.size() == kMostBefore) {
    why.basis = fmt::format("no estimate, since {} or more jobs are ahead of it", kMostBefore);
    return;
  }
  const auto start = [&](const Job& one) {
    Time at = now;
    for (auto count = std::min<std::int64_t>(one.need.nodes, static_cast<std::int64_t>(free.size())); count > 0; --count) {
      at = std::max(at, free.top());
      free.pop();
    }
    return at;
  };
  for (const auto* other : before) {
    const auto long_ = takes(*other);
    if (!long_) return unknown(*other);
    const auto nodes = std::min<std::int64_t>(other->need.nodes, static_cast<std::int64_t>(free.size()));
    const auto ends = start(*other) + *long_;
    for (auto count = nodes; count > 0; --count) free.push(ends);
  }
  why.start = start(job);
}

std::string Scheduler::remedy(const Job& job, Time now) const {
  if (job.state == Job::State::paused) return {};
  const auto& target = target_of(job);
  if (target.rules.holds && target.rules.max_nodes == 0) return fmt::format("`lathe compute start -n {}`", target.rules.name);
  const bool quota = !within_quota(job);
  const bool full = target.rules.local || job.need.nodes > target.idle_count() + target.rules.max_nodes - target.size();
  std::vector<std::string> running;
  const auto list = [&](const Target& of) {
    for (const auto& [name, other] : jobs_in(of))
      if (!quota || other->user == job.user) running.push_back(fmt::format("{} ({}, running for {})", *other->name, other->need.user, long_words(now - other->since)));
  };
  if (!quota && !fits(job) && !full) {
    for (const auto& [name, other] : targets_)
      if (!other.rules.local) list(other);
    std::vector<std::string> held;
    for (const auto& [name, other] : targets_)
      if (other.rules.holds && !other.nodes.empty()) held.push_back(name);
    if (!held.empty()) return fmt::format("less held by {}{}", names(held), running.empty() ? "" : ", or the end of " + names(running));
  } else if (!quota && fits(job)) {
    if (job.need.limit.count() == 0) return "limits.timeout in its file: a job that surely ends in time may go ahead";
    list(target);
  } else {
    list(target);
  }
  std::string out = running.empty() ? "" : "the end of " + names(running);
  if (!quota && full && !target.rules.local && !target.rules.holds) out += fmt::format("{}max_instances above {}", out.empty() ? "" : ", or ", target.rules.max_nodes);
  return out;
}

std::string Scheduler::impossible(const std::string& name, const Need& need) const {
  const auto found = targets_.find(name);
  if (found == targets_.end()) return {};
  const auto& rules = found->second.rules;
  const auto quota = quota_of(need.user);
  if (quota >= 0 && need.nodes > quota)
    return fmt::format("it asks for {}, and the quota of {} is {}: an administrator can raise `user_quotas`", nodes_words(need.nodes), need.user, quota);
  if (rules.local) {
    if (need.nodes == 1) return {};
    return fmt::format("it asks for {}, and local is one: use a cluster (`lathe compute create --type amlcompute`)", nodes_words(need.nodes));
  }
  if (rules.max_nodes_per_user >= 0 && need.nodes > rules.max_nodes_per_user)
    return fmt::format("it asks for {}, and one user may have {} of {} (max_instances_per_user)", nodes_words(need.nodes), rules.max_nodes_per_user, name);
  if (rules.holds) {
    if (need.nodes == 1) return {};
    return fmt::format("it asks for {}, and {} is one: use a cluster", nodes_words(need.nodes), name);
  }
  if (need.nodes > rules.max_nodes)
    return fmt::format("it asks for {}, and {} may have {} (max_instances)", nodes_words(need.nodes), name, rules.max_nodes);
  if (!Ledger(machine_).fits(rules.node, need.nodes))
    return fmt::format("it asks for {} of {} with {} each, and this machine has {} in all", nodes_words(need.nodes), name, rules.node.words(), machine_.words());
  return {};
}

}  // namespace lathe::compute
