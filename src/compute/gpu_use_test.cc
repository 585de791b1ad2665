#include "compute/gpu_use.h"

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
const std::vector<Gpu> kTwo{{0, "GPU-a", "A10", 24 * kGiB, 0, false}, {1, "GPU-b", "A10", 24 * kGiB, 1, false}};

/// Processes 100 to 199 belong to the job "a", 200 to 299 to "b", others to none.
std::optional<std::string> owner(int pid) {
  if (pid / 100 == 1) return "a";
  if (pid / 100 == 2) return "b";
  return std::nullopt;
}

TEST(GpuUse, AProcessOfNobodyAndOneOfAJobThatDoesNotHoldTheGpuAreForeign) {
  const GpuHolds holds{{"a", {{0, 1000}}}};
  const auto use = judge(kTwo, {{{100, kGiB}, {5000, kGiB}}, {{101, kGiB}, {200, kGiB}}}, holds, owner);
  EXPECT_EQ(use.foreign, (std::map<int, std::vector<int>>{{0, {5000}}, {1, {101, 200}}}));
  EXPECT_TRUE(use.excess.empty());
}

TEST(GpuUse, AJobOnItsOwnGpuIsNotForeign) {
  EXPECT_TRUE(judge(kTwo, {{{100, 24 * kGiB}}, {}}, {{"a", {{0, 1000}}}}, owner).foreign.empty());
}

TEST(GpuUse, AllProcessesOfAJobTogetherMayUseItsPart) {
  const GpuHolds holds{{"a", {{0, 500}}}, {"b", {{0, 500}}}};
  EXPECT_TRUE(judge(kTwo, {{{100, 6 * kGiB}, {101, 6 * kGiB}, {200, 12 * kGiB}}, {}}, holds, owner).excess.empty());
  const auto use = judge(kTwo, {{{100, 6 * kGiB}, {101, 6 * kGiB + 1}, {200, kGiB}}, {}}, holds, owner);
  ASSERT_EQ(use.excess.size(), 1U);
  EXPECT_EQ(use.excess[0].job, "a");
  EXPECT_NE(use.excess[0].why.find("12.00 GiB of the memory of GPU 0 (A10), of which its part is 0.5: 12.00 GiB"), std::string::npos)
      << use.excess[0].why;
}

TEST(GpuUse, WhatTheDriverDoesNotSayIsNotHeldAgainstAJob) {
  const GpuHolds holds{{"a", {{0, 100}}}};
  EXPECT_TRUE(judge(kTwo, {{{100, std::nullopt}}, {}}, holds, owner).excess.empty());
  const std::vector<Gpu> unknown{{0, "", "", 0, 0, false}};
  EXPECT_TRUE(judge(unknown, {{{100, kGiB}}}, holds, owner).excess.empty());
}

}  // namespace
}  // namespace lathe::compute
