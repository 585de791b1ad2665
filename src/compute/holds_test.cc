#include <gtest/gtest.h>

#include "compute/scheduler.h"
#include "compute/testing.h"

/// What instances, deployments and processes outside do to the scheduler.
namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Resources kMachine{4, 16 * kGiB, 2};
constexpr Resources kHalf{2, 8 * kGiB, 0};
constexpr Resources kOneGpu{1, kGiB, 1};
using Words = std::vector<std::string>;

Time at(int seconds) { return from_micros(std::int64_t{seconds} * 1'000'000); }

Rules held(const std::string& name, Resources node, bool on = true) {
  auto rules = cluster(name, node, on ? 1 : 0, on ? 1 : 0);
  rules.holds = true;
  return rules;
}

/// Decisions in words: "+c-0" a node starts, "-c-0" one leaves, "j@c-0" a job is placed.
Words words(const std::vector<Decision>& decisions) {
  Words out;
  for (const auto& decision : decisions) {
    if (const auto* started = std::get_if<NodeStarted>(&decision)) out.push_back("+" + started->node);
    if (const auto* left = std::get_if<NodeLeft>(&decision)) out.push_back("-" + left->node);
    if (const auto* placed = std::get_if<JobPlaced>(&decision)) out.push_back(placed->job + "@" + placed->nodes.at(0).name);
  }
  return out;
}

TEST(Holds, WhatIsHeldIsTakenAtOnceAndGivenBackWhenItStops) {
  Scheduler s(kMachine);
  EXPECT_EQ(words(s.apply(TargetPut{held("mia", kHalf)}, at(0))), (Words{"+mia-0"}));
  EXPECT_EQ(s.free(), (Resources{2, 8 * kGiB, 2}));
  EXPECT_EQ(words(s.apply(TargetPut{held("mia", kHalf, false)}, at(1))), (Words{"-mia-0"}));
  EXPECT_EQ(s.free(), kMachine);
}

TEST(Holds, AnIdleNodeMakesRoomForWhatIsHeldAndARunningOneDoesNot) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kMachine, 0, 1)}, at(0));
  s.apply(JobQueued{"a", "c", {}}, at(0));
  EXPECT_EQ(words(s.apply(TargetPut{held("mia", kHalf)}, at(1))), Words{});
  s.apply(JobQueued{"b", "c", {}}, at(2));
  // The held one was there before the cluster's next job.
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(3))).size(), 2U);
  EXPECT_EQ(s.nodes("mia").size(), 1U);
  EXPECT_EQ(s.waiting("c"), 1U);
}

TEST(Holds, JobsOfAStoppedInstanceWaitForItsStart) {
  Scheduler s(kMachine);
  s.apply(TargetPut{held("mia", kHalf, false)}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"a", "mia", {}}, at(0))), Words{});
  EXPECT_NE(s.waiting_for("a").find("waits for mia to be started"), std::string::npos) << s.waiting_for("a");
  EXPECT_EQ(words(s.apply(TargetPut{held("mia", kHalf)}, at(1))), (Words{"+mia-0", "a@mia-0"}));
}

TEST(Holds, NodesOfAnotherSizeLeaveWhenTheyAreIdle) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kMachine, 1, 1)}, at(0));
  EXPECT_EQ(words(s.apply(TargetPut{cluster("c", kHalf, 1, 1)}, at(1))), (Words{"-c-0", "+c-1"}));
  s.apply(JobQueued{"a", "c", {}}, at(2));
  EXPECT_EQ(words(s.apply(TargetPut{cluster("c", kMachine, 1, 1)}, at(3))), Words{});
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(4))), (Words{"-c-1", "+c-2"}));
  EXPECT_EQ(s.free(), (Resources{0, 0, 0}));
}

TEST(Holds, AGpuThatOthersUseIsLeftAloneUntilTheyEnd) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kOneGpu, 0, 2)}, at(0));
  s.apply(GpusBusy{{0}}, at(0));
  EXPECT_EQ(words(s.apply(JobQueued{"a", "c", {}}, at(0))), (Words{"+c-0", "a@c-0"}));
  EXPECT_EQ(s.nodes("c").at(0).gpus, (std::vector<int>{1}));
  EXPECT_EQ(words(s.apply(JobQueued{"b", "c", {}}, at(0))), Words{});
  EXPECT_EQ(words(s.apply(GpusBusy{{}}, at(1))), (Words{"+c-1", "b@c-1"}));
}

TEST(Holds, AnIdleNodeOnAGpuThatOthersUseLeaves) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kOneGpu, 1, 2)}, at(0));
  EXPECT_EQ(words(s.apply(GpusBusy{{0}}, at(1))), (Words{"-c-0", "+c-1"}));
  EXPECT_EQ(s.nodes("c").at(0).gpus, (std::vector<int>{1}));
}

TEST(Holds, WhatRanBeforeARestartHasItsNodeAgain) {
  Scheduler s(kMachine);
  s.apply(TargetPut{held("mia", kOneGpu)}, at(0));  // which starts mia-0, on GPU 0
  s.apply(JobFound{"a", "mia", {}, {{"mia-0", {1}}}}, at(0));
  ASSERT_EQ(s.nodes("mia").size(), 1U);
  EXPECT_EQ(s.nodes("mia").at(0).job, "a");
  EXPECT_EQ(s.nodes("mia").at(0).gpus, (std::vector<int>{1}));
  EXPECT_EQ(s.free(), (Resources{3, 15 * kGiB, 1}));
  EXPECT_EQ(words(s.apply(TargetPut{held("mia", kOneGpu, false)}, at(1))), Words{});
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(2))), (Words{"-mia-0"}));
}

Rules working(const std::string& name, Resources node, std::vector<int> gpus = {}) {
  auto rules = held(name, node);
  rules.works = true;
  rules.gpus = std::move(gpus);
  return rules;
}

TEST(Holds, WhatWorksHasTheGpusThatItHadBefore) {
  Scheduler s(kMachine);
  s.apply(TargetPut{working("d", kOneGpu, {1})}, at(0));
  EXPECT_EQ(s.nodes("d").at(0).gpus, (std::vector<int>{1}));
  s.apply(TargetPut{working("e", kOneGpu, {1, 7})}, at(0));
  EXPECT_EQ(s.nodes("e").at(0).gpus, (std::vector<int>{0}));
}

TEST(Holds, WhatWorksKeepsItsGpuWhateverElseUsesIt) {
  Scheduler s(kMachine);
  s.apply(TargetPut{working("d", kOneGpu)}, at(0));
  EXPECT_EQ(words(s.apply(GpusBusy{{0}}, at(1))), Words{});
  EXPECT_EQ(s.nodes("d").at(0).gpus, (std::vector<int>{0}));
}

TEST(Holds, WhatWorksGrowsAndShrinksWhereItIs) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", kOneGpu, 0, 1)}, at(0));
  s.apply(JobQueued{"a", "c", {}}, at(0));
  s.apply(TargetPut{working("d", kOneGpu)}, at(0));
  ASSERT_EQ(s.nodes("d").at(0).gpus, (std::vector<int>{1}));
  // It keeps what it has until there is more.
  EXPECT_EQ(words(s.apply(TargetPut{working("d", {2, 2 * kGiB, 2})}, at(1))), Words{});
  EXPECT_EQ(s.nodes("d").at(0).has, kOneGpu);
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(2))), (Words{"-c-0"}));
  EXPECT_EQ(s.nodes("d").at(0).gpus, (std::vector<int>{1, 0}));
  EXPECT_EQ(s.free(), (Resources{2, 14 * kGiB, 0}));
  EXPECT_EQ(words(s.apply(TargetPut{working("d", kOneGpu)}, at(3))), Words{});
  EXPECT_EQ(s.nodes("d").at(0).gpus, (std::vector<int>{1}));
  EXPECT_EQ(s.free(), (Resources{3, 15 * kGiB, 1}));
}

TEST(Holds, APartOfAGpuStaysOnItsGpu) {
  Scheduler s(kMachine);
  const Resources part{1, kGiB, 0, 500};
  s.apply(TargetPut{working("d", part, {1})}, at(0));
  s.apply(TargetPut{working("e", part)}, at(0));  // the fullest that has room
  EXPECT_EQ(s.nodes("e").at(0).gpus, (std::vector<int>{1}));
  EXPECT_EQ(s.free(), (Resources{2, 14 * kGiB, 1}));
}

TEST(Holds, NodesShareAGpu) {
  Scheduler s({4, 16 * kGiB, 1});
  s.apply(TargetPut{cluster("c", {1, kGiB, 0, 400}, 0, 4)}, at(0));
  for (const char* job : {"a", "b", "d"}) s.apply(JobQueued{job, "c", {}}, at(0));
  EXPECT_EQ(s.running("c"), 2U);
  EXPECT_EQ(s.free(), (Resources{2, 14 * kGiB, 0, 200}));
  EXPECT_EQ(words(s.apply(JobGone{"a"}, at(1))), (Words{"d@c-0"}));
}

}  // namespace
}  // namespace lathe::compute
