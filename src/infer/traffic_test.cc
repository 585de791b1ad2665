#include "infer/traffic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace lathe::infer {
namespace {

TEST(TrafficSplit, IsExactOverAnyHundredRequests) {
  for (const auto& weights : {std::vector{100}, std::vector{90, 10}, std::vector{33, 33, 34}, std::vector{1, 0, 99}}) {
    TrafficSplit split(weights);
    std::vector<std::size_t> picked;
    for (int i = 0; i < 350; ++i) picked.push_back(split.pick());
    for (auto start = picked.begin(); start + 100 <= picked.end(); ++start)
      for (std::size_t which = 0; which < weights.size(); ++which)
        ASSERT_EQ(std::count(start, start + 100, which), weights[which]);
  }
}

TEST(TrafficSplit, IsExactOverAThousandRequests) {
  TrafficSplit split({71, 23, 6});
  std::map<std::size_t, int> counts;
  for (int i = 0; i < 1000; ++i) ++counts[split.pick()];
  EXPECT_EQ(counts, (std::map<std::size_t, int>{{0, 710}, {1, 230}, {2, 60}}));
}

TEST(TrafficSplit, ASessionStaysAndManyAreSharedByWeight) {
  const TrafficSplit before({90, 10, 0}, {"blue", "green", "red"});
  const TrafficSplit after({70, 30, 0}, {"blue", "green", "red"});
  std::map<std::size_t, int> counts;
  constexpr int kSessions = 10'000;
  for (int i = 0; i < kSessions; ++i) {
    const auto session = "user-" + std::to_string(i);
    const auto picked = before.pick_for(session);
    ASSERT_EQ(before.pick_for(session), picked);
    ++counts[picked];
    // Only the one that gained takes sessions over.
    if (const auto now = after.pick_for(session); now != picked) {
      ASSERT_EQ(now, 1U);
    }
  }
  EXPECT_NEAR(counts[1], kSessions / 10, kSessions / 50);
  EXPECT_EQ(counts[2], 0);
}

TEST(TrafficSplit, SpreadsTheRareOnes) {
  TrafficSplit split({90, 10});
  int since = 0;
  for (int i = 0; i < 300; ++i) {
    since = split.pick() == 1 ? 0 : since + 1;
    ASSERT_LT(since, 10);
  }
}

TEST(TrafficSplit, GoesOnWithTheReadyOnesWhenSharesAreMissing) {
  TrafficSplit split({30, 0, 10});
  std::map<std::size_t, int> counts;
  for (int i = 0; i < 40; ++i) ++counts[split.pick()];
  EXPECT_EQ(counts, (std::map<std::size_t, int>{{0, 30}, {2, 10}}));
  EXPECT_EQ(split.main(), 0U);
}

TEST(TrafficSplit, IsEmptyWithoutWeights) {
  EXPECT_TRUE(TrafficSplit({}).empty());
  EXPECT_TRUE(TrafficSplit({0, -5}).empty());
}

}  // namespace
}  // namespace lathe::infer
