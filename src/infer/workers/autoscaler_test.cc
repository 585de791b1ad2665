#include "infer/workers/autoscaler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace lathe::infer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Time = Autoscaler::Time;

DesiredScale scale(int least, int most, int target = 70, int quiet_ms = 10'000) {
  DesiredScale out;
  out.least = least;
  out.most = most;
  out.target_percent = target;
  out.quiet_ms = quiet_ms;
  return out;
}

Time at(double s) {
  return Time{} + std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(s));
}

TEST(LoadMeter, AveragesOverTheTimeSinceItWasTaken) {
  LoadMeter meter;
  meter.take(at(100));
  meter.add(at(101), 1);
  meter.add(at(102), 3);
  EXPECT_EQ(meter.level(), 4);
  EXPECT_DOUBLE_EQ(meter.take(at(104)), (0 * 1 + 1 * 1 + 4 * 2) / 4.0);
  EXPECT_DOUBLE_EQ(meter.take(at(105)), 4);
  meter.add(at(105.5), -4);
  EXPECT_DOUBLE_EQ(meter.take(at(106)), 2);
  EXPECT_DOUBLE_EQ(meter.take(at(106)), 0);
}

TEST(Autoscaler, GrowsAtOnceToWhatKeepsTheWorkersBelowTheTarget) {
  Autoscaler scaler(scale(1, 10));
  EXPECT_EQ(scaler.decide(at(1), 0.6), 1);
  EXPECT_EQ(scaler.decide(at(2), 0.7), 1);
  EXPECT_EQ(scaler.decide(at(3), 0.71), 2);
  EXPECT_EQ(scaler.decide(at(4), 3.5), 5);
  EXPECT_EQ(scaler.decide(at(5), 1000), 10);
}

TEST(Autoscaler, ShrinksOnlyToWhatWasNeededDuringTheQuietTime) {
  Autoscaler scaler(scale(1, 10));
  EXPECT_EQ(scaler.decide(at(0), 5), 8);
  EXPECT_EQ(scaler.decide(at(4), 2), 8);
  EXPECT_EQ(scaler.decide(at(9), 0), 8);
  EXPECT_EQ(scaler.decide(at(10), 0), 3);  // what was needed at 4 s
  EXPECT_EQ(scaler.decide(at(13), 0), 3);
  EXPECT_EQ(scaler.decide(at(14), 0), 1);
}

TEST(Autoscaler, ALoadThatComesAndGoesKeepsItsWorkers) {
  Autoscaler scaler(scale(1, 10));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(scaler.decide(at(i), i % 5 == 0 ? 3 : 0), 5) << i;
}

TEST(Autoscaler, TheLastWorkerGoesAfterAQuietTimeWithoutAnyRequest) {
  Autoscaler scaler(scale(0, 3));
  scaler.hold(at(0), 1);
  EXPECT_EQ(scaler.decide(at(1), 0), 1);
  EXPECT_EQ(scaler.decide(at(5), 0.0001), 1);
  EXPECT_EQ(scaler.decide(at(14), 0), 1);
  EXPECT_EQ(scaler.decide(at(15), 0), 0);
  EXPECT_EQ(scaler.decide(at(16), 0), 0);
  EXPECT_EQ(scaler.decide(at(17), 0.001), 1);
}

TEST(Autoscaler, WhatWasStartedOtherwiseStaysForTheQuietTime) {
  Autoscaler scaler(scale(1, 5));
  scaler.hold(at(0), 4);
  EXPECT_EQ(scaler.decide(at(9.9), 0), 4);
  EXPECT_EQ(scaler.decide(at(10), 0), 1);
}

/// The same in plain words: the most that was needed since `quiet` ago.
int plain(const std::vector<std::pair<Time, double>>& loads, const DesiredScale& wanted) {
  int most = 0;
  for (const auto& [when, load] : loads) {
    const bool counts = when + milliseconds(wanted.quiet_ms) > loads.back().first;
    int needed = static_cast<int>(std::ceil(load * 100 / wanted.target_percent - 1e-9));
    if (load > 0) needed = std::max(needed, 1);
    if (counts) most = std::max(most, std::min(std::max(needed, wanted.least), wanted.most));
  }
  return most;
}

TEST(Autoscaler, AgreesWithItsRuleInPlainWords) {
  std::mt19937 random(5);
  const auto pick = [&](int least, int most) { return std::uniform_int_distribution(least, most)(random); };
  for (int round = 0; round < 200; ++round) {
    const auto wanted = scale(pick(0, 2), pick(3, 9), pick(1, 100), pick(1, 5000));
    Autoscaler scaler(wanted);
    std::vector<std::pair<Time, double>> loads;
    Time now = at(pick(0, 5));
    for (int i = 0; i < 60; ++i) {
      now += milliseconds(pick(1, 2000));
      loads.emplace_back(now, pick(0, 2) == 0 ? 0 : pick(0, 900) / 100.0);
      ASSERT_EQ(scaler.decide(now, loads.back().second), plain(loads, wanted)) << "round " << round << ", step " << i;
    }
  }
}

}  // namespace
}  // namespace lathe::infer
