#include "tracking/downsample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace lathe::tracking {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> random_values(std::size_t count, unsigned seed) {
  std::mt19937 chance(seed);
  std::normal_distribution<double> normal;
  std::vector<double> out(count);
  std::generate(out.begin(), out.end(), [&] { return normal(chance); });
  return out;
}

TEST(Downsample, FewerValuesThanAskedForAllStay) {
  for (const std::size_t count : {0, 1, 2, 5, 100}) {
    const auto picked = downsample(random_values(count, 1), 100);
    ASSERT_EQ(picked.size(), count);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(picked[i], i);
  }
}

TEST(Downsample, FirstLastAndExtremesStayInOrderWithinTheLimit) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const auto values = random_values(50 + seed * 997, seed);
    for (const std::size_t most : {4, 5, 10, 37, 1000}) {
      const auto picked = downsample(values, most);
      ASSERT_LE(picked.size(), std::max(most, std::size_t{4}));
      ASSERT_TRUE(std::is_sorted(picked.begin(), picked.end()));
      ASSERT_EQ(std::adjacent_find(picked.begin(), picked.end()), picked.end());
      EXPECT_EQ(picked.front(), 0U);
      EXPECT_EQ(picked.back(), values.size() - 1);
      const auto kept = [&](std::vector<double>::const_iterator which) {
        return std::binary_search(picked.begin(), picked.end(), static_cast<std::size_t>(which - values.begin()));
      };
      EXPECT_TRUE(kept(std::min_element(values.begin(), values.end())));
      EXPECT_TRUE(kept(std::max_element(values.begin(), values.end())));
    }
  }
}

TEST(Downsample, OnePeakAmongManyEqualValuesStays) {
  std::vector<double> values(100'000, 1.0);
  values[61'803] = 7;
  values[61'804] = -7;
  const auto picked = downsample(values, 20);
  EXPECT_NE(std::find(picked.begin(), picked.end(), 61'803U), picked.end());
  EXPECT_NE(std::find(picked.begin(), picked.end(), 61'804U), picked.end());
}

TEST(Downsample, NanHidesNoNumberAndALongGapIsShown) {
  auto values = random_values(10'000, 3);
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = kNan;
  std::fill(values.begin() + 4000, values.begin() + 6000, kNan);
  const auto picked = downsample(values, 100);
  const auto in_gap = [](std::size_t at) { return at >= 4000 && at < 6000; };
  EXPECT_TRUE(std::any_of(picked.begin(), picked.end(), [&](auto at) { return in_gap(at) && std::isnan(values[at]); }));
  for (const auto at : picked)
    EXPECT_TRUE(at == 0 || in_gap(at) || !std::isnan(values[at])) << at;  // the first one is NaN here, and stays
}

TEST(Downsample, NothingButNanIsAGap) {
  const std::vector<double> values(1000, kNan);
  const auto picked = downsample(values, 10);
  EXPECT_GE(picked.size(), 2U);
  EXPECT_LE(picked.size(), 10U);
}

}  // namespace
}  // namespace lathe::tracking
