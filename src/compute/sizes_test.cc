#include "compute/sizes.h"

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

TEST(Sizes, AnAzureSizeIsCutDownToTheMachineAndSaysSo) {
  const auto size = find_size("standard_ds3_v2", {2, 8 * kGiB, 0}).value();
  EXPECT_EQ(size.name, "Standard_DS3_v2");
  EXPECT_TRUE(size.mapped());
  EXPECT_EQ(size.given, (Resources{2, 8 * kGiB, 0}));
  EXPECT_FALSE(find_size("Standard_DS3_v2", {8, 64 * kGiB, 0})->mapped());
}

TEST(Sizes, AGpuSizeNeedsAGpu) {
  EXPECT_EQ(find_size("Standard_NC6", {8, 64 * kGiB, 0}).error().message,
            "size: Standard_NC6 needs 1 GPU, and this machine has 0");
  EXPECT_EQ(find_size("Standard_NC6", {8, 64 * kGiB, 1})->given.gpus, 1);
}

TEST(Sizes, AnUnknownSizeNamesTheNearest) {
  EXPECT_NE(find_size("Standard_DS3v2", {2, kGiB, 0}).error().message.find("Standard_DS3_v2"), std::string::npos);
}

TEST(Sizes, OwnSizesAreSharesOfTheMachine) {
  const auto half = find_size("cpu-2", {4, 8 * kGiB, 0}).value();
  EXPECT_EQ(half.given, (Resources{2, 4 * kGiB, 0}));
}

}  // namespace
}  // namespace lathe::compute
