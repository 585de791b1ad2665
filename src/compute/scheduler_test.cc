#include "compute/scheduler.h"

#include <gtest/gtest.h>

#include "compute/testing.h"

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Resources kMachine{4, 16 * kGiB, 0};
constexpr Resources kHalf{2, 8 * kGiB, 0};
constexpr Resources kWhole = kMachine;

Time at(int seconds) { return from_micros(std::int64_t{seconds} * 1'000'000); }

/// Decisions in words: "+c-0" a node starts, "-c-0" one leaves, "j@c-0" a job is placed.
std::vector<std::string> words(const std::vector<Decision>& decisions) {
  std::vector<std::string> out;
  for (const auto& decision : decisions) {
    if (const auto* started = std::get_if<NodeStarted>(&decision)) out.push_back("+" + started->node);
    if (const auto* left = std::get_if<NodeLeft>(&decision)) out.push_back("-" + left->node);
    if (const auto* placed = std::get_if<JobPlaced>(&decision))
      for (const auto& node : placed->nodes) out.push_back(placed->job + "@" + node.name);
  }
  return out;
}
using Words = std::vector<std::string>;

TEST(Scheduler, AClusterGrowsForWhatWaitsUpToItsMaximum) {
  Scheduler s(kMachine);
  EXPECT_EQ(words(s.apply(TargetPut{cluster("c", kHalf, 0, 2)}, at(0))), Words{});
  EXPECT_EQ(words(s.apply(JobQueued{"a", "c", {}}, at(0))), (Words{"+c-0", "a@c-0"}));
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", {}}, at(0))), (Words{"+c-1", "b@c-1"}));
  EXPECT_EQ(words(s.apply(JobQueued{"d", "c", {}}, at(0))), Words{});
  EXPECT_NE(s.waiting_for("d").find("all 2 that it may have are busy (first in line)"), std::string::npos)
      << s.waiting_for("d");
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(1))), (Words{"d@c-0"}));
}

TEST(Scheduler, IdleNodesLeaveAfterTheIdleTimeButNotBelowTheMinimum) {
  Scheduler s(kMachine);
  EXPECT_EQ(words(s.apply(TargetPut{cluster("c", kHalf, 1, 2)}, at(0))), (Words{"+c-0"}));
  EXPECT_EQ(s.next_change(), std::nullopt);
  s.apply(JobQueued{"a", "c", {}}, at(0));
  s.apply(JobQueued{"b", "c", {}}, at(0));
  s.apply(JobGone{"b"}, at(10));
  EXPECT_EQ(s.next_change(), at(110));
  EXPECT_EQ(words(s.apply(Tick{}, at(109))), Words{});
  EXPECT_EQ(words(s.apply(Tick{}, at(110))), (Words{"-c-1"}));
  s.apply(JobGone{"a"}, at(120));
  EXPECT_EQ(words(s.apply(Tick{}, at(1000))), Words{});
  EXPECT_EQ(s.nodes("c").size(), 1U);
}

TEST(Scheduler, JobsStartInTheirOrder) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kWhole, 0, 1)}, at(0));
  for (const char* job : {"a", "b", "d"}) s.apply(JobQueued{job, "c", {}}, at(0));
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(1))), (Words{"b@c-0"}));
  EXPECT_EQ(words(s.apply(JobGone{"b"}, at(2))), (Words{"d@c-0"}));
}

TEST(Scheduler, AnIdleNodeOfAnotherClusterMakesRoomAtOnce) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("one", kWhole, 0, 1)}, at(0));
  s.apply(TargetPut{cluster("two", kWhole, 0, 1)}, at(0));
  s.apply(JobQueued{"a", "one", {}}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"b", "two", {}}, at(1))), Words{});
  EXPECT_NE(s.waiting_for("b").find("to be free on this machine"), std::string::npos);
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(2))), (Words{"-one-0", "+two-0", "b@two-0"}));
}

TEST(Scheduler, AWaitingJobThatIsCancelledNeverStarts) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kWhole, 0, 1)}, at(0));
  s.apply(JobQueued{"a", "c", {}}, at(0));
  s.apply(JobQueued{"b", "c", {}}, at(0));
  s.apply(JobGone{"b"}, at(1));
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(2))), Words{});
  EXPECT_EQ(s.waiting_for("b"), "");
}

TEST(Scheduler, LocalTakesAsManyJobsAsItHasPlacesAndNoNodes) {
  Scheduler s(kMachine);
  Rules local;
  local.name = "local";
  local.local = true;
  local.slots = 2;
  s.apply(TargetPut{local}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"a", "local", {}}, at(0))), (Words{"a@local"}));
  s.apply(JobQueued{"b", "local", {}}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"c", "local", {}}, at(0))), Words{});
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(0))), (Words{"c@local"}));
  EXPECT_EQ(s.free(), kMachine);
}

TEST(Scheduler, WhatRanBeforeARestartKeepsItsNode) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kHalf, 0, 2)}, at(0));
  s.apply(JobFound{"a", "c", {}, {{"c-7", {}}}}, at(0));
  EXPECT_EQ(s.nodes("c").at(0).job, "a");
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", {}}, at(0))), (Words{"+c-8", "b@c-8"}));
  EXPECT_EQ(words(s.apply(JobQueued{"a", "c", {}}, at(0))), Words{});
}

TEST(Scheduler, EachNodeHasGpusOfItsOwn) {
  constexpr Resources kBox{8, 32 * kGiB, 3};
  Scheduler s(kBox);
  s.apply(TargetPut{cluster("c", {2, 8 * kGiB, 1}, 0, 4)}, at(0));
  s.apply(JobFound{"old", "c", {}, {{"c-0", {1}}}}, at(0));
  std::vector<std::vector<int>> given;
  for (const char* job : {"a", "b"})
    for (const auto& decision : s.apply(JobQueued{job, "c", {}}, at(0)))
      if (const auto* placed = std::get_if<JobPlaced>(&decision)) given.push_back(placed->nodes.at(0).gpus);
  EXPECT_EQ(given, (std::vector<std::vector<int>>{{0}, {2}}));
  s.apply(JobQueued{"d", "c", {}}, at(0));
  EXPECT_EQ(s.waiting("c"), 1U);  // no fourth GPU
  const auto next = s.apply(JobGone{"old"}, at(1));
  EXPECT_EQ(std::get<JobPlaced>(next.at(0)).nodes.at(0).gpus, (std::vector<int>{1}));
  for (const char* job : {"a", "b", "d"}) s.apply(JobGone{job}, at(2));
  s.apply(Tick{}, at(1000));
  EXPECT_EQ(s.free(), kBox);
}

Need nodes(std::int64_t count) {
  Need need;
  need.nodes = count;
  return need;
}

TEST(Scheduler, AJobOfSeveralNodesStartsWithAllOfThemOrNone) {
  constexpr Resources kQuarter{1, 4 * kGiB, 0};
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kQuarter, 0, 4)}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"a", "c", nodes(3)}, at(0))),
            (Words{"+c-0", "+c-1", "+c-2", "a@c-0", "a@c-1", "a@c-2"}));
  // One more node would fit, but it asks for two: none is started for it.
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", nodes(2)}, at(1))), Words{});
  EXPECT_EQ(s.nodes("c").size(), 3U);
  EXPECT_NE(s.waiting_for("b").find("2 nodes of c at once"), std::string::npos) << s.waiting_for("b");
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(2))), (Words{"b@c-0", "b@c-1"}));
}

TEST(Scheduler, ANodeOfTheMinimumIsNotGivenToTwo) {
  Scheduler s(kMachine);
  EXPECT_EQ(words(s.apply(TargetPut{cluster("c", kHalf, 1, 2)}, at(0))), (Words{"+c-0"}));
  s.apply(JobFound{"a", "c", nodes(1), {{"c-0", {}}}}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", {}}, at(0))), (Words{"+c-1", "b@c-1"}));
  EXPECT_EQ(s.free(), (Resources{0, 0, 0}));
}

TEST(Scheduler, AJobOfSeveralNodesThatRanBeforeARestartKeepsThem) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kHalf, 0, 2)}, at(0));
  s.apply(JobFound{"a", "c", nodes(2), {{"c-3", {}}, {"c-4", {}}}}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", {}}, at(0))), Words{});
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(1))), (Words{"b@c-3"}));
}

TEST(Scheduler, NothingIsEverGivenTwice) {
  // Whatever happens, nodes never hold more than the machine has, and every job is on at most one node.
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("one", kHalf, 1, 3, 5)}, at(0));
  s.apply(TargetPut{cluster("two", {1, kGiB, 0}, 0, 4, 3)}, at(0));
  unsigned random = 12345;
  std::vector<std::string> live;
  for (int step = 1; step < 5000; ++step) {
    random = random * 1103515245U + 12345U;
    const auto pick = (random >> 16) % 10;
    if (pick < 5) {
      live.push_back("j" + std::to_string(step));
      s.apply(JobQueued{live.back(), pick < 2 ? "one" : "two", {}}, at(step));
    } else if (pick < 9 && !live.empty()) {
      s.apply(JobGone{live.front()}, at(step));
      live.erase(live.begin());
    } else {
      s.apply(Tick{}, at(step));
    }
    Resources used;
    for (std::size_t i = 0; i < s.nodes("one").size(); ++i) used += kHalf;
    for (std::size_t i = 0; i < s.nodes("two").size(); ++i) used += Resources{1, kGiB, 0};
    ASSERT_TRUE(used.fits_in(kMachine));
    used += s.free();
    ASSERT_EQ(used, kMachine);
    ASSERT_EQ(s.waiting("one") + s.waiting("two") + s.running("one") + s.running("two"), live.size());
  }
}

}  // namespace
}  // namespace lathe::compute
