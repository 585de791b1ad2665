#include <gtest/gtest.h>

#include "compute/scheduler.h"

/// Each rule of the order, with numbers that can be followed by hand.
namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Resources kMachine{4, 16 * kGiB, 0};
constexpr Resources kOne{1, 4 * kGiB, 0};

Time at(std::int64_t seconds) { return from_micros(seconds * 1'000'000); }

Rules cluster(const std::string& name, std::int64_t max, Resources node = kOne) {
  Rules rules;
  rules.name = name;
  rules.node = node;
  rules.max_nodes = max;
  return rules;
}

Need need(std::int64_t nodes, std::int64_t limit = 0, const std::string& user = "alice") {
  Need out;
  out.nodes = nodes;
  out.user = user;
  out.limit = std::chrono::seconds{limit};
  return out;
}

Need ranked(Tier tier, Priority priority = Priority::medium, std::int64_t nodes = 1) {
  Need out = need(nodes);
  out.tier = tier;
  out.priority = priority;
  return out;
}

/// Jobs that started, and with a "!" those that were asked to give way.
std::vector<std::string> jobs(const std::vector<Decision>& decisions) {
  std::vector<std::string> out;
  for (const auto& decision : decisions) {
    if (const auto* placed = std::get_if<JobPlaced>(&decision)) out.push_back(placed->job);
    if (const auto* preempted = std::get_if<JobPreempted>(&decision)) out.push_back("!" + preempted->job);
  }
  return out;
}
using Jobs = std::vector<std::string>;

/// A scheduler with one cluster "c" of `nodes` nodes of one core.
Scheduler with_cluster(std::int64_t nodes, Policy policy = {}) {
  Scheduler s({nodes, nodes * 4 * kGiB, 0}, policy);
  s.apply(TargetPut{cluster("c", nodes)}, at(0));
  return s;
}

TEST(Order, TiersThenPrioritiesThenTheOrderOfSubmission) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"runs", "c", need(1)}, at(0));
  s.apply(JobQueued{"basic", "c", ranked(Tier::basic, Priority::high)}, at(1));
  s.apply(JobQueued{"first", "c", ranked(Tier::standard)}, at(2));
  s.apply(JobQueued{"second", "c", ranked(Tier::standard)}, at(3));
  s.apply(JobQueued{"low", "c", ranked(Tier::standard, Priority::low)}, at(4));
  s.apply(JobQueued{"premium", "c", ranked(Tier::premium, Priority::low)}, at(5));
  Jobs order;
  std::string running = "runs";
  for (int i = 0; i < 5; ++i) {
    running = jobs(s.apply(JobGone{running}, at(10 + i))).at(0);
    order.push_back(running);
  }
  EXPECT_EQ(order, (Jobs{"premium", "first", "second", "low", "basic"}));
}

TEST(Order, ARequeuedJobHasItsOldPlace) {
  auto s = with_cluster(1);
  Need first = need(1), second = need(1), third = need(1);
  first.number = 1, second.number = 2, third.number = 3;
  s.apply(JobQueued{"a", "c", first}, at(0));
  s.apply(JobQueued{"b", "c", second}, at(0));
  s.apply(JobQueued{"d", "c", third}, at(0));
  EXPECT_EQ(jobs(s.apply(JobGone{"a", Outcome::node_lost}, at(5))), Jobs{"b"});
  s.apply(JobQueued{"a", "c", first}, at(5));
  EXPECT_EQ(jobs(s.apply(JobGone{"b"}, at(6))), Jobs{"a"});
}

TEST(Order, ByPolicyFifoNothingButTheOrderOfSubmissionCounts) {
  auto s = with_cluster(2, {false, false, false, false});
  s.apply(JobQueued{"runs", "c", need(1, 100)}, at(0));
  s.apply(JobQueued{"wide", "c", need(2)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"short", "c", need(1, 10)}, at(0))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"premium", "c", ranked(Tier::premium)}, at(0))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(1))), Jobs{"wide"});
  EXPECT_EQ(jobs(s.apply(JobGone{"wide"}, at(2))), (Jobs{"short", "premium"}));
}

TEST(FairShare, WhoHasUsedLessComesFirst) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"a1", "c", need(1, 0, "alice")}, at(0));
  for (const char* job : {"a2", "a3"}) s.apply(JobQueued{job, "c", need(1, 0, "alice")}, at(0));
  for (const char* job : {"b1", "b2"}) s.apply(JobQueued{job, "c", need(1, 0, "bob")}, at(1));
  // Alice has used 100 s, Bob nothing.
  EXPECT_EQ(jobs(s.apply(JobGone{"a1"}, at(100))), Jobs{"b1"});
  // Bob 50 s, Alice 100 s.
  EXPECT_EQ(jobs(s.apply(JobGone{"b1"}, at(150))), Jobs{"b2"});
  // Bob 50 + 60 = 110 s.
  EXPECT_EQ(jobs(s.apply(JobGone{"b2"}, at(210))), Jobs{"a2"});
}

TEST(FairShare, UsersTakeTurnsAtOneMoment) {
  auto s = with_cluster(4);
  for (const char* job : {"a1", "a2", "a3", "a4"}) s.apply(JobQueued{job, "c", need(4, 0, "alice")}, at(0));
  for (const char* job : {"b1", "b2", "b3"}) s.apply(JobQueued{job, "c", need(1, 0, "bob")}, at(0));
  for (const char* job : {"d1", "d2", "d3"}) s.apply(JobQueued{job, "c", need(1, 0, "dora")}, at(0));
  // A started job is charged its first minute at once: four nodes are free, bob and dora have two each.
  EXPECT_EQ(jobs(s.apply(JobGone{"a1"}, at(1000))), (Jobs{"b1", "d1", "b2", "d2"}));
}

TEST(FairShare, OldUseCountsHalfAfterEachHalfLife) {
  Policy policy;
  policy.half_life = std::chrono::seconds{1000};
  auto s = with_cluster(1, policy);
  // Alice uses 900 s in the first half-life; Bob 500 s in the second, which weigh like 1000 s of the first.
  s.apply(JobRan{"c", need(1, 0, "alice"), at(0), at(900)}, at(2000));
  s.apply(JobRan{"c", need(1, 0, "bob"), at(1000), at(1500)}, at(2000));
  s.apply(JobQueued{"runs", "c", need(1, 0, "dora")}, at(2000));
  s.apply(JobQueued{"b", "c", need(1, 0, "bob")}, at(2000));
  s.apply(JobQueued{"a", "c", need(1, 0, "alice")}, at(2000));
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(2001))), Jobs{"a"});
}

TEST(FairShare, WeightsByHand) {
  FairShare share(std::chrono::seconds{100});
  EXPECT_EQ(share.advance(at(250)), 0);  // the third half-life weighs 1
  EXPECT_EQ(share.charge(7, at(200), at(210)), 7 * 10'000);
  EXPECT_EQ(share.charge(8, at(150), at(160)), 8 * 10'000 / 2);
  EXPECT_EQ(share.charge(8, at(90), at(110)), 8 * 10'000 / 4 + 8 * 10'000 / 2);
  EXPECT_EQ(share.charge(8, at(290), at(310)), 8 * 10'000 + 8 * 10'000 * 2);
  EXPECT_EQ(share.charge(8, at(290), at(290)), 0);
  EXPECT_EQ(share.advance(at(999)), 0);
  EXPECT_EQ(share.advance(at(1000)), 8);  // from the third to the eleventh
  EXPECT_EQ(share.charge(8, at(1000), at(1010)), 8 * 10'000);
}

TEST(FairShare, AJobThatRunsForLongIsChargedWhileItRuns) {
  auto s = with_cluster(2);
  s.apply(JobQueued{"long", "c", need(1, 0, "alice")}, at(0));
  s.apply(JobQueued{"b1", "c", need(1, 0, "bob")}, at(0));
  s.apply(JobQueued{"a2", "c", need(1, 0, "alice")}, at(1));
  s.apply(JobQueued{"b2", "c", need(1, 0, "bob")}, at(2));
  // After 500 s: alice's job runs and counts as 960 s (a minute doubled until it covers them), bob's took 500.
  EXPECT_EQ(jobs(s.apply(JobGone{"b1"}, at(500))), Jobs{"b2"});
}

TEST(Backfill, AShortJobFillsTheGapBeforeAWideOne) {
  auto s = with_cluster(4);
  s.apply(JobQueued{"runs", "c", need(3, 100)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"wide", "c", need(4, 50)}, at(0))), Jobs{});  // may start at 100
  EXPECT_EQ(jobs(s.apply(JobQueued{"long", "c", need(1, 91)}, at(10))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"endless", "c", need(1)}, at(10))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"short", "c", need(1, 90)}, at(10))), Jobs{"short"});
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(100))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"short"}, at(100))), Jobs{"wide"});
}

TEST(Backfill, WhatTheFirstDoesNotNeedMayBeTakenForLong) {
  auto s = with_cluster(4);
  s.apply(JobQueued{"runs", "c", need(3, 100)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"wide", "c", need(3, 50)}, at(0))), Jobs{});  // at 100, and one node is over
  EXPECT_EQ(jobs(s.apply(JobQueued{"endless", "c", need(1)}, at(0))), Jobs{"endless"});
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(100))), Jobs{"wide"});
}

TEST(Backfill, NothingPassesAJobWhoseStartHasNoBound) {
  auto s = with_cluster(2);
  s.apply(JobQueued{"endless", "c", need(1)}, at(0));
  s.apply(JobQueued{"wide", "c", need(2)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"short", "c", need(1, 1)}, at(0))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"endless"}, at(1))), Jobs{"wide"});
}

TEST(Backfill, AnotherClustersJobsLeaveTheRoomToTheFirst) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("whole", 1, kMachine)}, at(0));
  s.apply(TargetPut{cluster("c", 4)}, at(0));
  s.apply(JobQueued{"runs", "c", need(2, 100)}, at(0));
  s.apply(JobQueued{"wide", "whole", need(1, 10)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"endless", "c", need(1)}, at(1))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"long", "c", need(1, 100)}, at(1))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"short", "c", need(1, 99)}, at(1))), Jobs{"short"});
  s.apply(JobGone{"short"}, at(50));
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(100))), Jobs{"wide"});
}

TEST(Backfill, AMinimumServesItsOwnJobsThoughAnotherClusterWaitsForTheWholeMachine) {
  Scheduler s(kMachine);
  auto warm = cluster("warm", 2);
  warm.min_nodes = 1;
  s.apply(TargetPut{warm}, at(0));
  s.apply(TargetPut{cluster("whole", 1, kMachine)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"wide", "whole", need(1)}, at(1))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"own", "warm", need(1)}, at(2))), Jobs{"own"});
  s.apply(JobGone{"own"}, at(3));
  warm.min_nodes = 0;
  EXPECT_EQ(jobs(s.apply(TargetPut{warm}, at(4))), Jobs{"wide"});
}

TEST(Backfill, AnEndlessJobHoldsUpOnOtherClustersOnlyWhatItsOwnNextJobLacks) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", 2)}, at(0));
  s.apply(TargetPut{cluster("other", 4)}, at(0));
  s.apply(JobQueued{"endless", "c", need(1)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"two", "c", need(2)}, at(1))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobQueued{"a", "other", need(1)}, at(2))), Jobs{"a"});
  EXPECT_EQ(jobs(s.apply(JobQueued{"b", "other", need(1)}, at(3))), Jobs{"b"});
  EXPECT_EQ(jobs(s.apply(JobQueued{"z", "other", need(1)}, at(4))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"endless"}, at(5))), Jobs{"two"});
}

TEST(Bars, AJobThatMayStartAgainIsWrittenDownAsOneThatWaits) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"runs", "c", need(1)}, at(0));
  s.apply(TargetPut{cluster("c", 1)}, at(0));
  s.apply(JobQueued{"two", "c", need(2)}, at(1));
  ASSERT_EQ(s.snapshot(at(2)).waiting.size(), 1U);
  EXPECT_EQ(s.snapshot(at(2)).waiting[0].not_before, Time::max());
  s.apply(TargetPut{cluster("c", 2)}, at(3));
  EXPECT_EQ(s.snapshot(at(4)).waiting[0].not_before, Time{});
}

TEST(Backfill, AClusterWhoseOwnNodesAreBusyHoldsUpNoOther) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("small", 1)}, at(0));
  s.apply(TargetPut{cluster("c", 2)}, at(0));
  s.apply(JobQueued{"runs", "small", need(1)}, at(0));
  s.apply(JobQueued{"waits", "small", need(1)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"other", "c", need(2)}, at(0))), Jobs{"other"});
}

TEST(Preemption, ASpotJobGivesWayToAnyOther) {
  auto s = with_cluster(2);
  s.apply(JobQueued{"old", "c", ranked(Tier::spot)}, at(0));
  s.apply(JobQueued{"new", "c", ranked(Tier::spot)}, at(5));
  // The one that started last loses the least.
  EXPECT_EQ(jobs(s.apply(JobQueued{"wants", "c", need(1)}, at(10))), Jobs{"!new"});
  EXPECT_EQ(jobs(s.apply(Tick{}, at(11))), Jobs{});  // asked once
  EXPECT_EQ(jobs(s.apply(JobGone{"new", Outcome::preempted}, at(12))), Jobs{"wants"});
  EXPECT_EQ(jobs(s.apply(JobQueued{"new", "c", ranked(Tier::spot)}, at(12))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"wants"}, at(20))), Jobs{"new"});
}

TEST(Preemption, SpotJobsDoNotDisplaceEachOtherNorDoOthersLowerOnes) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"spot", "c", ranked(Tier::spot, Priority::low)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"high", "c", ranked(Tier::spot, Priority::high)}, at(1))), Jobs{});
  s.apply(JobGone{"spot"}, at(2));
  s.apply(JobGone{"high"}, at(2));
  s.apply(JobQueued{"basic", "c", ranked(Tier::basic)}, at(3));
  EXPECT_EQ(jobs(s.apply(JobQueued{"premium", "c", ranked(Tier::premium)}, at(4))), Jobs{});
}

TEST(Preemption, NobodyIsAskedIfThatWouldNotBeEnough) {
  auto s = with_cluster(3);
  s.apply(JobQueued{"stays", "c", need(1)}, at(0));
  s.apply(JobQueued{"spot", "c", ranked(Tier::spot)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"wide", "c", need(3)}, at(1))), Jobs{});
}

TEST(Preemption, NoMoreJobsThanNeeded) {
  auto s = with_cluster(6);
  s.apply(JobQueued{"four", "c", ranked(Tier::spot, Priority::medium, 4)}, at(0));
  s.apply(JobQueued{"one", "c", ranked(Tier::spot, Priority::medium, 1)}, at(1));
  s.apply(JobQueued{"other", "c", ranked(Tier::spot, Priority::medium, 1)}, at(2));
  // With the latest first, "other" and "one" would go before "four": which is enough alone.
  EXPECT_EQ(jobs(s.apply(JobQueued{"wants", "c", need(4)}, at(3))), Jobs{"!four"});
}

TEST(Preemption, SpotJobsOfOneClusterMakeRoomForAnother) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("low", 4)}, at(0));
  s.apply(TargetPut{cluster("c", 2)}, at(0));
  for (const char* job : {"l1", "l2", "l3", "l4"}) s.apply(JobQueued{job, "low", ranked(Tier::spot)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"wants", "c", need(2)}, at(1))), (Jobs{"!l4", "!l3"}));
  EXPECT_EQ(jobs(s.apply(JobGone{"l3", Outcome::preempted}, at(2))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"l4", Outcome::preempted}, at(2))), Jobs{"wants"});
}

TEST(Quotas, OneUsersJobsLeaveTheRestToOthers) {
  auto s = with_cluster(4);
  s.apply(QuotasPut{{{"*", 2}, {"dora", 3}}}, at(0));
  for (const char* job : {"a1", "a2"}) EXPECT_EQ(jobs(s.apply(JobQueued{job, "c", need(1, 0, "alice")}, at(0))), Jobs{job});
  EXPECT_EQ(jobs(s.apply(JobQueued{"a3", "c", need(1, 0, "alice")}, at(0))), Jobs{});
  EXPECT_NE(s.waiting_for("a3").find("jobs of alice have 2 nodes, of 2"), std::string::npos) << s.waiting_for("a3");
  EXPECT_EQ(jobs(s.apply(JobQueued{"b1", "c", need(1, 0, "bob")}, at(0))), Jobs{"b1"});
  EXPECT_EQ(jobs(s.apply(JobGone{"a1"}, at(1))), Jobs{"a3"});
  EXPECT_EQ(s.impossible("c", need(3, 0, "dora")), "");
  EXPECT_NE(s.impossible("c", need(3, 0, "bob")).find("the quota of bob is 2"), std::string::npos);
  s.apply(JobQueued{"a4", "c", need(1, 0, "alice")}, at(2));
  EXPECT_EQ(jobs(s.apply(QuotasPut{{}}, at(3))), Jobs{"a4"});
}

TEST(Quotas, OfOneCluster) {
  auto s = with_cluster(4);
  auto rules = cluster("c", 4);
  rules.max_nodes_per_user = 1;
  s.apply(TargetPut{rules}, at(0));
  s.apply(JobQueued{"a1", "c", need(1)}, at(0));
  EXPECT_EQ(jobs(s.apply(JobQueued{"a2", "c", need(1)}, at(0))), Jobs{});
  EXPECT_EQ(jobs(s.apply(JobGone{"a1"}, at(1))), Jobs{"a2"});
  EXPECT_NE(s.impossible("c", need(2)).find("max_instances_per_user"), std::string::npos);
}

TEST(Pauses, AJobWaitsForItsTimeAndHoldsUpNobody) {
  auto s = with_cluster(1);
  EXPECT_EQ(jobs(s.apply(JobQueued{"a", "c", need(1), at(10)}, at(0))), Jobs{});
  EXPECT_NE(s.waiting_for("a").find("its node was lost"), std::string::npos);
  EXPECT_EQ(s.next_change(), at(10));
  EXPECT_EQ(jobs(s.apply(JobQueued{"b", "c", need(1)}, at(1))), Jobs{"b"});
  s.apply(JobGone{"b"}, at(2));
  EXPECT_EQ(jobs(s.apply(Tick{}, at(9))), Jobs{});
  EXPECT_EQ(jobs(s.apply(Tick{}, at(10))), Jobs{"a"});
}

TEST(Growth, IdleNodesStayForAWideJobThatWaits) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", 4)}, at(0));
  s.apply(TargetPut{cluster("other", 2)}, at(0));
  s.apply(JobQueued{"runs", "other", need(2, 1000)}, at(0));
  s.apply(JobQueued{"a", "c", need(2)}, at(0));
  s.apply(JobQueued{"wide", "c", need(4)}, at(1));
  s.apply(JobGone{"a"}, at(2));
  EXPECT_EQ(s.nodes("c").size(), 2U);
  s.apply(Tick{}, at(500));  // idle for longer than 120 s
  EXPECT_EQ(s.nodes("c").size(), 2U);
  EXPECT_EQ(s.next_change(), std::nullopt);
  EXPECT_EQ(jobs(s.apply(JobGone{"runs"}, at(501))), Jobs{"wide"});
}

TEST(Why, TellsPlaceEstimateAndRemedy) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"runs", "c", need(1, 100)}, at(0));
  s.apply(JobQueued{"next", "c", need(1, 50)}, at(0));
  s.apply(JobQueued{"last", "c", need(1)}, at(0));
  const auto why = s.why("last", at(40));
  ASSERT_TRUE(why);
  EXPECT_EQ(why->place, 2);
  EXPECT_EQ(why->start, at(150));  // 100, and the 50 of the one before it
  EXPECT_NE(why->basis.find("time limits"), std::string::npos);
  EXPECT_NE(why->remedy.find("runs (alice, running for 40 s)"), std::string::npos) << why->remedy;
  EXPECT_EQ(s.why("runs", at(40)), std::nullopt);
}

TEST(Why, UsesTheMedianOfWhatRanBefore) {
  auto s = with_cluster(1);
  for (const int seconds : {10, 1000, 30}) s.apply(JobRan{"c", need(1), at(0), at(seconds)}, at(2000));
  s.apply(JobQueued{"runs", "c", need(1)}, at(2000));
  s.apply(JobQueued{"next", "c", need(1)}, at(2000));
  s.apply(JobQueued{"last", "c", need(1)}, at(2000));
  const auto why = s.why("last", at(2010));
  ASSERT_TRUE(why);
  EXPECT_EQ(why->start, at(2060));  // 20 s more of "runs", 30 s of "next"
  EXPECT_NE(why->basis.find("median of the last 3 run times on c, 30 s"), std::string::npos) << why->basis;
}

TEST(Why, SaysThatItDoesNotKnow) {
  auto s = with_cluster(1);
  s.apply(JobQueued{"runs", "c", need(1)}, at(0));
  s.apply(JobQueued{"next", "c", need(1)}, at(0));
  const auto why = s.why("next", at(1));
  ASSERT_TRUE(why);
  EXPECT_EQ(why->start, std::nullopt);
  EXPECT_NE(why->sentence(at(1)).find("runs has no limits.timeout"), std::string::npos) << why->sentence(at(1));
}

TEST(Impossible, WhatCanNeverStartIsKnownBefore) {
  Scheduler s(kMachine);
  s.apply(TargetPut{cluster("c", 3)}, at(0));
  s.apply(TargetPut{cluster("wide", 9)}, at(0));
  Rules local;
  local.name = "local";
  local.local = true;
  local.slots = 4;
  s.apply(TargetPut{local}, at(0));
  EXPECT_EQ(s.impossible("c", need(3)), "");
  EXPECT_NE(s.impossible("c", need(4)).find("c may have 3 (max_instances)"), std::string::npos);
  EXPECT_NE(s.impossible("wide", need(5)).find("this machine has 4 cores"), std::string::npos) << s.impossible("wide", need(5));
  EXPECT_NE(s.impossible("local", need(2)).find("use a cluster"), std::string::npos);
  s.apply(QuotasPut{{{"alice", 0}}}, at(0));
  EXPECT_NE(s.impossible("local", need(1)).find("the quota of alice is 0"), std::string::npos);
}

}  // namespace
}  // namespace lathe::compute
