#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include "compute/scheduler.h"
#include "compute/testing.h"

/// What must hold whatever happens, in whatever order.
namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Resources kMachine{16, 64 * kGiB, 4};

Time at(std::int64_t seconds) { return from_micros(seconds * 1'000'000); }

std::string words(const Decision& decision) {
  if (const auto* started = std::get_if<NodeStarted>(&decision)) return "+" + started->node;
  if (const auto* left = std::get_if<NodeLeft>(&decision)) return "-" + left->node;
  if (const auto* preempted = std::get_if<JobPreempted>(&decision)) return "!" + preempted->job;
  const auto& placed = std::get<JobPlaced>(decision);
  std::string out = placed.job;
  for (const auto& node : placed.nodes) {
    out += "@" + node.name;
    for (const int gpu : node.gpus) out += ":" + std::to_string(gpu);
  }
  return out;
}

/// A world around a scheduler: it carries decisions out, and checks after each event what must hold.
class World {
 public:
  explicit World(std::uint64_t seed, Policy policy = {}) : random_(seed), scheduler_(std::make_unique<Scheduler>(kMachine, policy)), policy_(policy) {
    for (const auto& rules : {cluster("small", {1, 4 * kGiB, 0}, 1, 6, 7), cluster("wide", {2, 8 * kGiB, 0}, 0, 8, 20),
                              cluster("gpu", {4, 16 * kGiB, 1}, 0, 3, 5)}) {
      rules_[rules.name] = rules;
      apply(TargetPut{rules});
    }
    apply(QuotasPut{{{"carol", 3}}});
  }

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      now_ += pick(3);
      const auto what = pick(20);
      if (what < 8) queue();
      else if (what < 14) end_one();
      else if (what < 15) cancel_one();
      else if (what < 16) restart();
      else if (what < 17) resize();
      else apply(Tick{});
    }
  }

  /// Lets everything run to its end: nothing may be left over.
  void drain() {
    for (int rounds = 0; rounds < 10'000 && !live_.empty() && !testing::Test::HasFatalFailure(); ++rounds) {
      now_ += 5;
      if (std::any_of(live_.begin(), live_.end(), [](const auto& job) { return !job.second.nodes.empty(); })) end_one();
      else apply(Tick{});
    }
    ASSERT_TRUE(live_.empty()) << live_.begin()->first << " never ran: " << scheduler_->waiting_for(live_.begin()->first);
    now_ += 1000;
    apply(Tick{});
    for (const auto& [name, rules] : rules_)
      ASSERT_EQ(static_cast<std::int64_t>(scheduler_->nodes(name).size()), std::min(rules.min_nodes, rules.max_nodes)) << name;
  }

  std::vector<std::string> log;

 private:
  struct Live {
    std::string target;
    Need need;
    std::vector<NodeGiven> nodes;  ///< none: it waits
    std::int64_t since = 0;
    bool leaving = false;
  };

  std::int64_t pick(std::int64_t below) { return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below)); }

  void queue() {
    const auto name = "j" + std::to_string(++number_);
    Live job;
    job.target = std::vector<std::string>{"small", "wide", "gpu"}[static_cast<std::size_t>(pick(3))];
    job.need.nodes = 1 + pick(std::min<std::int64_t>(rules_[job.target].max_nodes, 3));
    job.need.user = std::vector<std::string>{"alice", "bob", "carol"}[static_cast<std::size_t>(pick(3))];
    job.need.tier = static_cast<Tier>(pick(4));
    job.need.priority = static_cast<Priority>(pick(3));
    job.need.limit = std::chrono::seconds{pick(3) == 0 ? 0 : 1 + pick(30)};
    job.need.number = number_;
    live_[name] = job;
    apply(JobQueued{name, job.target, job.need});
  }

  void end_one() {
    std::vector<std::string> running;
    for (const auto& [name, job] : live_)
      if (!job.nodes.empty()) running.push_back(name);
    if (running.empty()) return;
    const auto name = running[static_cast<std::size_t>(pick(static_cast<std::int64_t>(running.size())))];
    const auto job = live_[name];
    live_.erase(name);
    apply(JobGone{name, job.leaving ? Outcome::preempted : Outcome::ended});
    if (!job.leaving) return;
    live_[name] = {job.target, job.need, {}, 0, false};
    apply(JobQueued{name, job.target, job.need});
  }

  void cancel_one() {
    for (const auto& [name, job] : live_) {
      if (!job.nodes.empty()) continue;
      const auto gone = name;
      live_.erase(gone);
      apply(JobGone{gone});
      return;
    }
  }

  /// A new server that knows only what runs and what waits.
  void restart() {
    scheduler_ = std::make_unique<Scheduler>(kMachine, policy_);
    log.emplace_back("restart");
    // As after a real one: nothing is placed before all that runs was found.
    Resumed resumed;
    for (const auto& [name, rules] : rules_) resumed.targets.push_back(rules);
    for (auto& [name, job] : live_) {
      if (job.nodes.empty()) continue;
      job.leaving = false;
      resumed.jobs.push_back({name, job.target, job.need, job.nodes, at(job.since)});
    }
    scheduler_->apply(QuotasPut{{{"carol", 3}}}, at(now_));
    scheduler_->apply(resumed, at(now_));
    checking_ = false;  // until all are queued again
    std::vector<std::pair<std::int64_t, std::string>> waiting;
    for (const auto& [name, job] : live_)
      if (job.nodes.empty()) waiting.emplace_back(job.need.number, name);
    std::sort(waiting.begin(), waiting.end());
    for (const auto& [number, name] : waiting) apply(JobQueued{name, live_[name].target, live_[name].need});
    checking_ = true;
    check();
  }

  void resize() {
    auto& rules = rules_["wide"];
    rules.max_nodes = 3 + pick(6);  // never below what a job may ask for
    rules.min_nodes = pick(2);
    apply(TargetPut{rules});
  }

  void apply(const Event& event) {
    for (const auto& decision : scheduler_->apply(event, at(now_))) {
      log.push_back(std::to_string(now_) + " " + words(decision));
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) {
        ASSERT_TRUE(live_.contains(placed->job)) << placed->job << " was not there to be placed";
        auto& job = live_[placed->job];
        ASSERT_TRUE(job.nodes.empty()) << placed->job << " was placed twice";
        ASSERT_EQ(static_cast<std::int64_t>(placed->nodes.size()), job.need.nodes) << "all nodes or none";
        job.nodes = placed->nodes;
        job.since = now_;
      }
      if (const auto* preempted = std::get_if<JobPreempted>(&decision)) {
        ASSERT_TRUE(live_.contains(preempted->job) && live_.contains(preempted->winner));
        auto& job = live_[preempted->job];
        ASSERT_FALSE(job.nodes.empty() || job.leaving) << preempted->job << " cannot give way";
        ASSERT_EQ(job.need.tier, Tier::spot);
        ASSERT_NE(live_[preempted->winner].need.tier, Tier::spot);
        job.leaving = true;
      }
    }
    check();
  }

  void check() {
    if (!checking_) return;
    Resources used;
    std::map<std::string, std::int64_t> held_by;
    std::set<int> gpus;
    std::size_t waiting = 0;
    for (const auto& [name, job] : live_) {
      waiting += job.nodes.empty() ? 1 : 0;
      held_by[job.need.user] += static_cast<std::int64_t>(job.nodes.size());
    }
    std::size_t waits = 0;
    for (const auto& [target, rules] : rules_) {
      waits += scheduler_->waiting(target);
      const auto nodes = scheduler_->nodes(target);
      std::int64_t busy = 0;
      std::set<std::string> names;
      for (const auto& node : nodes) {
        used += node.has;
        ASSERT_TRUE(names.insert(node.name).second);
        for (const int gpu : node.gpus) ASSERT_TRUE(gpus.insert(gpu).second) << "GPU " << gpu << " was given twice";
        if (!node.job) continue;
        ++busy;
        ASSERT_TRUE(live_.contains(*node.job));
        const auto& held = live_[*node.job].nodes;
        ASSERT_TRUE(std::any_of(held.begin(), held.end(), [&](const auto& given) { return given.name == node.name; }));
      }
      std::int64_t held = 0;
      for (const auto& [name, job] : live_)
        if (job.target == target) held += static_cast<std::int64_t>(job.nodes.size());
      ASSERT_EQ(busy, held) << "each node has one job";
      // A smaller maximum does not end what runs; then the cluster has no more than runs.
      ASSERT_LE(static_cast<std::int64_t>(nodes.size()), std::max(rules.max_nodes, busy));
    }
    ASSERT_TRUE(used.fits_in(kMachine)) << used.words();
    ASSERT_EQ(waiting, waits) << "nothing is lost";
    ASSERT_LE(held_by["carol"], 3);
  }

  std::mt19937_64 random_;
  std::unique_ptr<Scheduler> scheduler_;
  Policy policy_;
  std::map<std::string, Rules> rules_;
  std::map<std::string, Live> live_;
  std::int64_t now_ = 1000;
  std::int64_t number_ = 0;
  bool checking_ = true;
};

TEST(SchedulerProperties, HoldForRandomEvents) {
  for (std::uint64_t seed = 1; seed <= 12 && !testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    world.run(600);
    world.drain();
  }
}

TEST(SchedulerProperties, TheSameEventsGiveTheSameDecisions) {
  World one(99), other(99);
  one.run(500);
  other.run(500);
  EXPECT_EQ(one.log, other.log);
}

/// Runs jobs that take all the time that they may, and tells when each started.
std::map<std::string, std::int64_t> starts(const std::vector<std::tuple<std::int64_t, std::string, Need>>& jobs, Policy policy,
                                           std::map<std::string, std::int64_t>* promised = nullptr) {
  Scheduler s({8, 32 * kGiB, 0}, policy);
  s.apply(TargetPut{cluster("c", {1, 4 * kGiB, 0}, 0, 8, 10)}, at(0));
  std::map<std::string, std::int64_t> out;
  std::map<std::string, Need> needs;
  std::multimap<std::int64_t, std::string> ends;
  std::size_t next = 0;
  while (next < jobs.size() || !ends.empty()) {
    const bool arrival = next < jobs.size() && (ends.empty() || std::get<0>(jobs[next]) < ends.begin()->first);
    const auto now = arrival ? std::get<0>(jobs[next]) : ends.begin()->first;
    Event event = Tick{};
    if (arrival) {
      const auto& [when, name, need] = jobs[next++];
      needs[name] = need;
      event = JobQueued{name, "c", need};
    } else {
      event = JobGone{ends.begin()->second, Outcome::node_lost};  // leaves no run time: promises rest on limits
      ends.erase(ends.begin());
    }
    for (const auto& decision : s.apply(event, at(now)))
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) {
        out[placed->job] = now;
        ends.emplace(now + needs[placed->job].limit.count(), placed->job);
      }
    if (promised == nullptr) continue;
    for (const auto& [name, need] : needs) {
      if (out.contains(name) || promised->contains(name)) continue;
      const auto why = s.why(name, at(now));
      if (why && why->place == 1 && why->start) (*promised)[name] = micros(*why->start) / 1'000'000;
    }
  }
  return out;
}

TEST(SchedulerProperties, BackfillNeverDelaysTheFirstInLine) {
  std::mt19937_64 random(4711);
  const auto pick = [&](std::int64_t below) { return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(below)); };
  std::size_t sooner = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::tuple<std::int64_t, std::string, Need>> jobs;
    std::int64_t when = 0;
    for (int i = 0; i < 60; ++i) {
      Need need;
      need.nodes = 1 + pick(8);
      need.limit = std::chrono::seconds{1 + pick(50)};
      need.number = i + 1;
      when += pick(6);
      jobs.emplace_back(when, "j" + std::to_string(i), need);
    }
    std::map<std::string, std::int64_t> promised;
    const auto fifo = starts(jobs, {.tiers = false, .fair = false, .backfill = false, .preempt = false});
    const auto filled = starts(jobs, {.tiers = false, .fair = false, .backfill = true, .preempt = false}, &promised);
    ASSERT_EQ(filled.size(), jobs.size());
    for (const auto& [name, start] : filled) {
      if (promised.contains(name)) {
        EXPECT_LE(start, promised[name]) << name << " in round " << round;
      }
      if (start < fifo.at(name)) ++sooner;
    }
  }
  EXPECT_GT(sooner, 100U);  // it does fill gaps
}

}  // namespace
}  // namespace lathe::compute
