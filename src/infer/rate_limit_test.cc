#include "infer/rate_limit.h"

#include <gtest/gtest.h>

#include <thread>

namespace lathe::infer {
namespace {

using std::chrono::milliseconds;
const RateLimit::Clock::time_point kStart{std::chrono::hours(1)};
constexpr KeyDigest kA{1};
constexpr KeyDigest kB{2};
constexpr KeyDigest kC{3};

TEST(RateLimit, ABurstGoesAtOnceAndTheRestAtItsRate) {
  RateLimit limit({10, 3}, {kA});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.take(0, kStart).count(), 0) << i;
  EXPECT_EQ(limit.take(0, kStart), milliseconds(100));
  EXPECT_EQ(limit.take(0, kStart + milliseconds(40)), milliseconds(60));
  EXPECT_EQ(limit.take(0, kStart + milliseconds(100)).count(), 0);
  EXPECT_GT(limit.take(0, kStart + milliseconds(100)).count(), 0);
  EXPECT_EQ(limit.refused(), 3U);
  // What was not used is kept, but no more than a burst of it.
  const auto later = kStart + std::chrono::minutes(10);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.take(0, later).count(), 0) << i;
  EXPECT_GT(limit.take(0, later).count(), 0);
}

TEST(RateLimit, EachKeyHasItsOwnAndKeepsItWhenAnotherIsReplaced) {
  RateLimit limit({1, 1}, {kA, kB});
  EXPECT_EQ(limit.take(0, kStart).count(), 0);
  EXPECT_EQ(limit.take(1, kStart).count(), 0);
  RateLimit after(limit, {kC, kB});
  EXPECT_EQ(after.take(0, kStart).count(), 0);
  EXPECT_GT(after.take(1, kStart).count(), 0);
  EXPECT_EQ(after.refused(), 1U);
}

TEST(RateLimit, ThreadsShareWhatThereIs) {
  RateLimit limit({0.001, 1000}, {kA});
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) taken += limit.take(0, kStart).count() == 0 ? 1 : 0;
    });
  for (auto& each : threads) each.join();
  EXPECT_EQ(taken, 1000);
}

}  // namespace
}  // namespace lathe::infer
