#include "compute/replay.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <map>
#include <queue>
#include <random>
#include <unordered_map>

namespace lathe::compute {
namespace {

double seconds(Time::duration time) { return static_cast<double>(time.count()) / 1e6; }

/// Gathers figures from what happens to jobs.
class Tally {
 public:
  explicit Tally(const Resources& machine) : machine_(machine) {}

  void put(const Rules& rules) { rules_[rules.name] = rules; }
  void came(const std::string& job, Time at) {
    came_.try_emplace(job, at);
    first_ = std::min(first_, at);
  }
  void started(const std::string& job, const std::string& target, std::size_t nodes, Time at) {
    if (const auto came = came_.find(job); came != came_.end()) waits_.push_back(seconds(at - came->second)), came_.erase(came);
    const auto& rules = rules_[target];
    const double share = dominant_share(rules, static_cast<std::int64_t>(nodes), machine_);
    running_[job] = {at, share};
    first_ = std::min(first_, at);
  }
  void ended(const std::string& job, Time at) {
    const auto found = running_.find(job);
    if (found == running_.end()) return;
    used_ += seconds(at - found->second.first) * found->second.second;
    running_.erase(found);
    last_ = std::max(last_, at);
  }
  void preempted() { ++preemptions_; }

  Figures figures() {
    Figures out;
    out.jobs = waits_.size();
    out.left_waiting = came_.size();
    out.preemptions = preemptions_;
    if (waits_.empty()) return out;
    std::sort(waits_.begin(), waits_.end());
    for (const double wait : waits_) out.mean_wait_s += wait / static_cast<double>(waits_.size());
    out.median_wait_s = waits_[waits_.size() / 2];
    out.p95_wait_s = waits_[std::min(waits_.size() * 95 / 100, waits_.size() - 1)];
    out.longest_wait_s = waits_.back();
    out.span_s = std::max(seconds(last_ - first_), 1e-6);
    out.utilisation = used_ / out.span_s;
    return out;
  }

 private:
  Resources machine_;
  std::map<std::string, Rules> rules_;
  std::unordered_map<std::string, Time> came_;
  std::unordered_map<std::string, std::pair<Time, double>> running_;
  std::vector<double> waits_;
  double used_ = 0;
  std::size_t preemptions_ = 0;
  Time first_ = Time::max();
  Time last_ = Time::min();
};

bool same(const std::vector<Decision>& a, const std::vector<Decision>& b) {
  return print_event(Tick{}, Time{}, a) == print_event(Tick{}, Time{}, b);
}

std::vector<TargetPut> puts_of(const Event& event) {
  if (const auto* put = std::get_if<TargetPut>(&event)) return {*put};
  std::vector<TargetPut> out;
  if (const auto* resumed = std::get_if<Resumed>(&event))
    for (const auto& rules : resumed->targets) out.push_back({rules});
  return out;
}

/// How long each job ran in all, over its attempts. Those that still ran at the end count up to then.
std::unordered_map<std::string, Time::duration> work_of(const Recording& recording) {
  std::unordered_map<std::string, Time> since;
  std::unordered_map<std::string, Time::duration> out;
  for (const auto& job : recording.start.running) since[job.job] = job.since;
  Time last = recording.start.at;
  for (const auto& [at, event, decisions] : recording.events) {
    last = at;
    if (const auto* resumed = std::get_if<Resumed>(&event))
      for (const auto& job : resumed->jobs) since[job.job] = job.since;
    if (const auto* gone = std::get_if<JobGone>(&event))
      if (const auto ran = since.find(gone->job); ran != since.end()) {
        out[gone->job] += at - ran->second;
        since.erase(ran);
      }
    for (const auto& decision : decisions)
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) since[placed->job] = at;
  }
  for (const auto& [job, at] : since) out[job] += last - at;
  return out;
}

/// Plays jobs through a scheduler: each runs for its time, and one that gives way goes on later where it was.
class Player {
 public:
  Player(Scheduler scheduler, Tally& tally) : scheduler_(std::move(scheduler)), tally_(tally) {}

  /// Everything that happens by itself before `until`.
  void advance(Time until) {
    for (;;) {
      const auto tick = scheduler_.next_change();
      const bool end = !ends_.empty() && ends_.top().at <= until && (!tick || ends_.top().at <= *tick);
      if (end) {
        const auto next = ends_.top();
        ends_.pop();
        if (const auto found = jobs_.find(next.job); found != jobs_.end() && found->second.run == next.run) end_job(next.job, Outcome::ended, next.at);
      } else if (tick && *tick <= until) {
        apply(Tick{}, *tick);
      } else {
        return;
      }
    }
  }

  void queue(const JobQueued& event, Time::duration work, Time at) {
    jobs_[event.job] = {event.target, event.need, work, {}, 0};
    tally_.came(event.job, at);
    apply(JobQueued{event.job, event.target, event.need}, at);
  }
  void runs(const std::string& job, const std::string& target, const Need& need, std::size_t nodes, Time since, Time::duration work) {
    jobs_[job] = {target, need, work, since, ++runs_};
    tally_.started(job, target, nodes, since);
    ends_.push({since + work, runs_, job});
  }

  void apply(const Event& event, Time at) {
    std::vector<Event> more{event};
    for (std::size_t i = 0; i < more.size(); ++i) {
      for (const auto& decision : scheduler_.apply(more[i], at)) {
        if (const auto* placed = std::get_if<JobPlaced>(&decision)) {
          auto& job = jobs_[placed->job];
          runs(placed->job, placed->target, job.need, placed->nodes.size(), at, job.work);
        }
        if (const auto* preempted = std::get_if<JobPreempted>(&decision)) {
          auto& job = jobs_[preempted->job];
          job.work = std::max<Time::duration>(job.work - (at - job.since), Time::duration{1});
          job.run = ++runs_;
          tally_.ended(preempted->job, at);
          tally_.preempted();
          more.push_back(JobGone{preempted->job, Outcome::preempted});
          more.push_back(JobQueued{preempted->job, job.target, job.need});
        }
      }
    }
  }

  void end_job(const std::string& name, Outcome outcome, Time at) {
    tally_.ended(name, at);
    jobs_.erase(name);
    apply(JobGone{name, outcome}, at);
  }
  bool done() const { return jobs_.empty(); }
  std::optional<Time> next_end() const { return ends_.empty() ? std::nullopt : std::optional(ends_.top().at); }

 private:
  struct Played {
    std::string target;
    Need need;
    Time::duration work{};
    Time since{};
    std::uint64_t run = 0;
  };
  struct End {
    Time at;
    std::uint64_t run;
    std::string job;
    bool operator>(const End& other) const { return std::tie(at, run) > std::tie(other.at, other.run); }
  };
  Scheduler scheduler_;
  Tally& tally_;
  std::unordered_map<std::string, Played> jobs_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::uint64_t runs_ = 0;
};

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

}  // namespace

std::size_t differences(const Recording& recording) {
  std::optional<Scheduler> scheduler(Scheduler::restore(recording.start));
  std::size_t out = 0;
  for (std::size_t i = 0; i < recording.events.size(); ++i) {
    if (const auto restart = recording.restarts.find(i); restart != recording.restarts.end())
      scheduler.emplace(Scheduler::restore(restart->second));
    const auto& [at, event, decisions] = recording.events[i];
    if (!same(scheduler->apply(event, at), decisions)) ++out;
  }
  return out;
}

Figures as_recorded(const Recording& recording) {
  Tally tally(recording.start.machine);
  for (const auto& of : recording.start.targets) tally.put(of.rules);
  for (const auto& job : recording.start.waiting) tally.came(job.job, recording.start.at);
  for (const auto& job : recording.start.running) tally.started(job.job, job.target, job.nodes.size(), job.since);
  Time last = recording.start.at;
  std::map<std::string, bool> live;
  for (const auto& [at, event, decisions] : recording.events) {
    last = at;
    for (const auto& put : puts_of(event)) tally.put(put.rules);
    if (const auto* queued = std::get_if<JobQueued>(&event); queued != nullptr && live.try_emplace(queued->job).second) tally.came(queued->job, at);
    if (const auto* gone = std::get_if<JobGone>(&event)) {
      tally.ended(gone->job, at);
      if (gone->outcome == Outcome::ended) live.erase(gone->job);
    }
    if (const auto* resumed = std::get_if<Resumed>(&event))
      for (const auto& job : resumed->jobs) tally.started(job.job, job.target, job.nodes.size(), job.since), live[job.job] = true;
    for (const auto& decision : decisions) {
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) tally.started(placed->job, placed->target, placed->nodes.size(), at), live[placed->job] = true;
      if (std::holds_alternative<JobPreempted>(decision)) tally.preempted();
    }
  }
  for (const auto& [job, runs] : live)
    if (runs) tally.ended(job, last);
  return tally.figures();
}

Figures as_replayed(const Recording& recording, const Policy& policy, std::optional<std::int64_t> nodes) {
  auto start = recording.start;
  start.policy = policy;
  const auto change = [&](Rules rules) {
    if (nodes && rules.local) rules.slots = *nodes;
    if (nodes && !rules.local && !rules.holds) rules.max_nodes = *nodes, rules.min_nodes = std::min(rules.min_nodes, *nodes);
    return rules;
  };
  std::map<std::string, Rules> all;
  for (auto& of : start.targets) all[of.rules.name] = of.rules = change(of.rules);
  for (const auto& recorded : recording.events)
    for (const auto& put : puts_of(recorded.event)) all[put.rules.name] = change(put.rules);
  if (nodes) {
    start.machine = {};
    for (const auto& [name, rules] : all)
      for (std::int64_t i = 0; !rules.local && i < rules.max_nodes; ++i) start.machine += rules.node;
    start.machine.gpus += (start.machine.gpu_share + 999) / 1000;
    start.machine.gpu_share = 0;
  }
  const auto work = work_of(recording);
  const auto waiting = std::exchange(start.waiting, {});
  auto running = start.running;
  if (nodes) start.running.clear();  // what ran on nodes of another machine starts with the rest
  Tally tally(start.machine);
  for (const auto& of : start.targets) tally.put(of.rules);
  if (nodes)
    for (auto& of : start.targets) of.idle.clear();
  Player player(Scheduler::restore(start), tally);
  std::map<std::string, bool> known;
  const auto queue = [&](const JobQueued& event, Time at) {
    const auto ran = work.find(event.job);
    if (ran == work.end() || !known.try_emplace(event.job).second) return;
    player.queue(event, ran->second, at);
  };
  for (const auto& job : running) {
    if (nodes) {
      queue({job.job, job.target, job.need}, start.at);
    } else {
      known[job.job] = true;
      const auto ran = work.find(job.job);
      player.runs(job.job, job.target, job.need, job.nodes.size(), job.since, ran == work.end() ? Time::duration{} : ran->second);
    }
  }
  for (const auto& job : waiting) queue({job.job, job.target, job.need}, start.at);
  for (std::size_t i = 0; i < recording.events.size(); ++i) {
    const auto& [at, event, decisions] = recording.events[i];
    player.advance(at);
    for (const auto& put : puts_of(event)) {
      tally.put(change(put.rules));
      player.apply(TargetPut{change(put.rules)}, at);
    }
    if (const auto* removed = std::get_if<TargetGone>(&event))
      if (const auto of = all.find(removed->name); of != all.end()) {
        // Jobs that are played longer than they were may still want it; nobody keeps its nodes.
        auto& rules = of->second;
        rules.holds = false;
        rules.min_nodes = 0;
        rules.idle = std::chrono::seconds{0};
        player.apply(TargetPut{rules}, at);
      }
    if (const auto* resumed = std::get_if<Resumed>(&event))
      for (const auto& job : resumed->jobs) queue({job.job, job.target, job.need}, at);
    if (const auto* queued = std::get_if<JobQueued>(&event)) queue(*queued, at);
    if (std::holds_alternative<QuotasPut>(event)) player.apply(event, at);
    // After a restart the server tells again what ran before; here nothing was forgotten.
    const bool first_server = recording.restarts.empty() || i < recording.restarts.begin()->first;
    if (std::holds_alternative<JobRan>(event) && first_server) player.apply(event, at);
    if (std::holds_alternative<GpusBusy>(event) && !nodes) player.apply(event, at);
  }
  while (!player.done() && player.next_end()) player.advance(*player.next_end());
  return tally.figures();
}

Simulated simulate(const Load& load, const Policy& policy) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  constexpr auto kStart = std::int64_t{1'800'000'000};
  std::mt19937_64 random(load.seed);
  const auto pick = [&](std::int64_t from, std::int64_t to) {
    return from + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(to - from + 1));
  };
  Simulated out;
  const Resources machine{load.nodes, load.nodes * 4 * kGiB, 0};
  Scheduler scheduler(machine, policy);
  Tally tally(machine);
  Rules rules;
  rules.name = "nodes";
  rules.node = {1, 4 * kGiB, 0};
  rules.max_nodes = load.nodes;
  tally.put(rules);

  using End = std::pair<Time, std::string>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  std::unordered_map<std::string, Time::duration> takes;
  double spent_queue = 0, spent_end = 0;
  std::size_t queued = 0;
  auto now = from_micros(kStart * 1'000'000);
  const auto apply = [&](const Event& event, double& spent) {
    const auto wall = std::chrono::steady_clock::now();
    const double before = cpu_us();
    const auto decisions = scheduler.apply(event, now);
    spent += cpu_us() - before;
    out.longest_us = std::max(out.longest_us, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - wall).count());
    ++out.events;
    for (const auto& decision : decisions)
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) {
        tally.started(placed->job, placed->target, placed->nodes.size(), now);
        ends.emplace(now + takes[placed->job], placed->job);
      }
  };
  double ignored = 0;
  apply(TargetPut{rules}, ignored);
  const auto end_next = [&] {
    const auto [at, job] = ends.top();
    ends.pop();
    now = std::max(now, at);
    tally.ended(job, now);
    takes.erase(job);
    apply(JobGone{job}, spent_end);
  };
  // Arrivals so dense that about 95 % of the nodes are asked for, or all at once.
  const double mean_nodes = 0.5 + 0.5 * static_cast<double>(load.widest + 1) / 2;
  const double gap_s = mean_nodes * 1800 / (static_cast<double>(load.nodes) * 0.95);
  for (std::int64_t number = 1; number <= load.jobs; ++number) {
    if (!load.at_once) {
      const auto next = from_micros(kStart * 1'000'000 + static_cast<std::int64_t>(gap_s * 1e6 * static_cast<double>(number)));
      while (!ends.empty() && ends.top().first <= next) end_next();
      now = std::max(now, next);
    } else {
      now += Time::duration{10};
    }
    Need need;
    need.nodes = pick(0, 1) == 0 ? 1 : pick(1, std::min(load.widest, load.nodes));
    need.user = fmt::format("user-{}", pick(1, load.users));
    need.tier = Tier::standard;
    need.priority = static_cast<Priority>(pick(0, 2));
    need.limit = std::chrono::seconds{pick(600, 7200)};
    need.number = number;
    const auto name = fmt::format("job-{}", number);
    takes[name] = Time::duration(std::chrono::seconds{pick(60, need.limit.count())});
    tally.came(name, now);
    apply(JobQueued{name, rules.name, need}, spent_queue);
    ++queued;
  }
  out.memory_bytes = resident_bytes();
  while (!ends.empty()) end_next();
  out.figures = tally.figures();
  out.queue_us = spent_queue / static_cast<double>(std::max<std::size_t>(queued, 1));
  out.end_us = spent_end / static_cast<double>(std::max<std::size_t>(queued, 1));
  out.mean_us = (spent_queue + spent_end) / static_cast<double>(out.events);
  return out;
}

}  // namespace lathe::compute
