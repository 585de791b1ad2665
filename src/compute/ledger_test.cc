#include "compute/ledger.h"

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Resources kBox{8, 32 * kGiB, 2};
constexpr Resources kHalfGpu{1, kGiB, 0, 500};
using Numbers = std::vector<int>;

TEST(Ledger, GivesTheLowestGpusAndTakesThemBack) {
  Ledger ledger(kBox);
  EXPECT_EQ(ledger.take({4, 8 * kGiB, 1}), (Numbers{0}));
  EXPECT_EQ(ledger.take({4, 8 * kGiB, 1}), (Numbers{1}));
  EXPECT_FALSE(ledger.fits({0, 0, 1}));
  EXPECT_FALSE(ledger.fits({1, 0, 0}));
  ledger.give_back({4, 8 * kGiB, 1}, {0});
  EXPECT_EQ(ledger.free(), (Resources{4, 24 * kGiB, 1}));
  ledger.give_back({4, 8 * kGiB, 1}, {1});
  EXPECT_EQ(ledger.free(), kBox);
}

TEST(Ledger, PartsFillOneGpuBeforeTheyOpenAnother) {
  Ledger ledger(kBox);
  EXPECT_EQ(ledger.take(kHalfGpu), (Numbers{0}));
  EXPECT_EQ(ledger.free().gpu_share, 500);
  EXPECT_TRUE(ledger.fits({1, kGiB, 1}));
  EXPECT_FALSE(ledger.fits({1, kGiB, 2}));
  EXPECT_EQ(ledger.take(kHalfGpu), (Numbers{0}));
  EXPECT_EQ(ledger.take(kHalfGpu), (Numbers{1}));
  EXPECT_FALSE(ledger.fits({1, kGiB, 0, 600}));
  EXPECT_TRUE(ledger.fits(kHalfGpu));
  EXPECT_FALSE(ledger.fits(kHalfGpu, 2));
}

TEST(Ledger, SeveralPartsAreCountedByTheRoomOfEachGpu) {
  const Ledger ledger(kBox);
  EXPECT_TRUE(ledger.fits({1, kGiB, 0, 400}, 4));  // two on each
  EXPECT_FALSE(ledger.fits({1, kGiB, 0, 400}, 5));
  EXPECT_FALSE(ledger.fits({1, kGiB, 1, 400}, 2));
}

TEST(Ledger, AGpuThatOthersUseIsNotGivenOutUntilTheyEnd) {
  Ledger ledger(kBox);
  ledger.set_busy({0});
  EXPECT_EQ(ledger.take({1, kGiB, 1}), (Numbers{1}));
  EXPECT_FALSE(ledger.fits({1, kGiB, 1}));
  EXPECT_FALSE(ledger.fits(kHalfGpu));
  ledger.set_busy({});
  EXPECT_EQ(ledger.take({1, kGiB, 1}), (Numbers{0}));
}

TEST(Ledger, WhatIsHeldOfABusyGpuStaysHeld) {
  Ledger ledger(kBox);
  ledger.take(kHalfGpu);
  ledger.set_busy({0});
  EXPECT_EQ(ledger.free().gpu_share, 0);
  ledger.set_busy({});
  EXPECT_EQ(ledger.free().gpu_share, 500);
  ledger.set_busy({0});
  ledger.give_back(kHalfGpu, {0});
  EXPECT_EQ(ledger.free().gpus, 1);
  ledger.set_busy({});
  EXPECT_EQ(ledger.free(), kBox);
}

TEST(Ledger, WhatRanBeforeARestartIsTakenAgain) {
  Ledger ledger(kBox);
  ledger.take_again({16, kGiB, 1}, {1});  // more than there is: nothing else fits until it ends
  EXPECT_FALSE(ledger.fits({1, kGiB, 0}));
  ledger.give_back({16, kGiB, 1}, {1});
  EXPECT_EQ(ledger.free(), kBox);
  ledger.take_again({1, kGiB, 1}, {7});  // a GPU that is not there any more
  EXPECT_EQ(ledger.free().gpus, 2);
}

}  // namespace
}  // namespace lathe::compute
