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
