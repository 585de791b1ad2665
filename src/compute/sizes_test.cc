#include "compute/sizes.h"

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

const Sizes kLaptop({2, 8 * kGiB, 0}, {});
const Sizes kBox({16, 64 * kGiB, 4}, {});

TEST(Sizes, AnAzureSizeIsCutDownToTheMachineAndSaysSo) {
  const auto size = kLaptop.find("standard_ds3_v2").value();
  EXPECT_EQ(size.name, "Standard_DS3_v2");
  EXPECT_TRUE(size.mapped());
  EXPECT_TRUE(size.elastic());
  EXPECT_EQ(size.given, (Resources{2, 8 * kGiB, 0}));
  EXPECT_FALSE(kBox.find("Standard_DS3_v2")->mapped());
}

TEST(Sizes, AGpuSizeNeedsAGpu) {
  EXPECT_EQ(kLaptop.find("Standard_NC6").error().message, "size: Standard_NC6 needs 1 GPU, and this machine has 0");
  EXPECT_EQ(kBox.find("Standard_NC6")->given.gpus, 1);
}

TEST(Sizes, AnUnknownSizeNamesTheNearest) {
  EXPECT_NE(kLaptop.find("Standard_DS3v2").error().message.find("Standard_DS3_v2"), std::string::npos);
}

TEST(Sizes, OwnSizesAreSharesOfTheMachine) {
  EXPECT_EQ(kBox.find("cpu-2")->given, (Resources{2, 8 * kGiB, 0}));
  EXPECT_EQ(kBox.find("gpu-1")->given, (Resources{4, 16 * kGiB, 1}));
  EXPECT_EQ(kBox.find("gpu-0.5")->given, (Resources{2, 8 * kGiB, 0, 500}));
  EXPECT_EQ(kBox.find("gpu-0.25")->given, (Resources{1, 4 * kGiB, 0, 250}));
  EXPECT_FALSE(kLaptop.find("gpu-0.5"));
}

TEST(Sizes, AnAdministratorsSizesComeFirst) {
  const auto own = parse_sizes("small=cores:1 memory:512MiB, half-gpu=memory:1.5GiB cores:2 gpu:0.5,CPU-1=cores:4 memory:4GiB").value();
  const Sizes sizes({16, 64 * kGiB, 4}, own);
  EXPECT_EQ(sizes.find("Small")->given, (Resources{1, kGiB / 2, 0}));
  EXPECT_EQ(sizes.find("half-gpu")->given, (Resources{2, kGiB * 3 / 2, 0, 500}));
  EXPECT_EQ(sizes.find("cpu-1")->given.cores, 4);
  EXPECT_FALSE(sizes.find("small")->elastic());
  const Sizes here({2, 8 * kGiB, 0}, own);
  EXPECT_EQ(here.find("cpu-1").error().message, "size: CPU-1 is 4 cores, 4 GiB, and this machine has 2 cores, 8 GiB");
  EXPECT_FALSE(here.find("half-gpu"));
}

TEST(Sizes, WhatIsNoSizeIsRefusedByName) {
  for (const char* text : {"small", "small=cores:2", "small=cores:2 memory:4", "small=cores:1.5 memory:4GiB", "s=cores:2 memory:4GiB gpu:1.5",
                           "s=cores:2 memory:4GiB tpu:1", "s=cores:-1 memory:4GiB", "a b=cores:1 memory:1GiB", "s=cores:x memory:1GiB"})
    EXPECT_EQ(parse_sizes(text).error().message.substr(0, 6), "sizes:") << text;
  EXPECT_EQ(parse_sizes("s=cores:1 memory:1GiB,S=cores:1 memory:1GiB").error().message, "sizes: S is there twice");
  EXPECT_TRUE(parse_sizes("")->empty());
}

TEST(Sizes, AnElasticNodeLeavesOthersWhatTheyReserved) {
  const auto mapped = kLaptop.find("Standard_DS3_v2").value();
  EXPECT_EQ(kLaptop.node(mapped, {}), (Resources{2, 8 * kGiB, 0}));
  EXPECT_EQ(kLaptop.node(mapped, {1, 2 * kGiB, 0}), (Resources{1, 6 * kGiB, 0}));
  EXPECT_EQ(kLaptop.node(mapped, {2, 8 * kGiB, 0}), (Resources{1, kGiB / 4, 0}));  // it waits, then
  EXPECT_EQ(kLaptop.node(kLaptop.find("cpu-1").value(), {2, 8 * kGiB, 0}), (Resources{1, 4 * kGiB, 0}));
  EXPECT_EQ(kBox.node(kBox.find("all").value(), {4, kGiB, 1, 500}), (Resources{12, 63 * kGiB, 2}));
  EXPECT_EQ(kLaptop.at_most_half({2, 8 * kGiB, 0}), (Resources{1, 4 * kGiB, 0}));
  EXPECT_EQ(kBox.at_most_half({2, 8 * kGiB, 1}), (Resources{2, 8 * kGiB, 1}));
}

TEST(Sizes, AmountsInWords) {
  EXPECT_EQ((Resources{1, kGiB * 3 / 2, 0, 500}).words(), "1 core, 1.5 GiB, 0.5 GPU");
  EXPECT_EQ((Resources{4, 16 * kGiB, 2}).words(), "4 cores, 16 GiB, 2 GPUs");
}

}  // namespace
}  // namespace lathe::compute
