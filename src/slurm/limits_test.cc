#include "slurm/limits.h"

#include <gtest/gtest.h>

namespace lathe::slurm {
namespace {

std::vector<Node> partition() {
  Node small;
  small.name = "n1";
  small.cores = 8;
  small.memory_bytes = std::int64_t{16} << 30;
  small.most_nodes = 2;
  small.most_minutes = 120;
  auto large = small;
  large.name = "n2";
  large.gres = "gpu:a100:4(S:0-1)";
  large.cores = 64;
  auto other = large;
  other.name = "n3";
  other.gres = "gpu:2";
  return {small, large, other};
}

Partition asking(std::int64_t cores, std::int64_t gib, std::int64_t gpus) {
  return {"main", "", "", cores, gib << 30, gpus};
}

bool says(const std::string& why, const std::string& words) {
  return why.find(words) != std::string::npos;
}

TEST(Limits, WhatFitsIsNotRefused) {
  EXPECT_EQ(never_runs(asking(0, 0, 0), 2, 7200, partition()), "");
  EXPECT_EQ(never_runs(asking(64, 16, 2), 2, 0, partition()), "");
  EXPECT_EQ(never_runs(asking(64, 16, 4), 1, 0, partition()), "");
}

TEST(Limits, WhatCanNeverRunIsRefusedWithTheReason) {
  EXPECT_TRUE(says(never_runs(asking(1, 0, 0), 4, 0, partition()), "4 nodes, and the partition main has 3"));
  EXPECT_TRUE(says(never_runs(asking(1, 0, 0), 3, 0, partition()), "may have 2"));
  EXPECT_TRUE(says(never_runs(asking(1, 0, 0), 1, 7201, partition()), "ends jobs after 2 h"));
  EXPECT_TRUE(says(never_runs(asking(65, 0, 0), 1, 0, partition()), "65 cores"));
  EXPECT_TRUE(says(never_runs(asking(1, 17, 0), 1, 0, partition()), "17 GiB"));
  EXPECT_TRUE(says(never_runs(asking(1, 0, 4), 2, 0, partition()), "4 GPUs"));
  EXPECT_TRUE(says(never_runs(asking(1, 0, 0), 1, 0, {}), "no partition"));
}

TEST(Limits, SlurmsWordsAreRead) {
  EXPECT_EQ(gpus_in("gpu:a100:4(S:0,2),shard:8,gpu:h100:2"), 6);
  EXPECT_EQ(gpus_in(""), 0);
  EXPECT_EQ(minutes_in("infinite"), 0);
  EXPECT_EQ(minutes_in("n/a"), 0);
  EXPECT_EQ(minutes_in("30:00"), 30);
  EXPECT_EQ(minutes_in("2:00:00"), 120);
  EXPECT_EQ(minutes_in("1-12:00:00"), 36 * 60);
  const auto nodes = read_nodes(
      "main\x1fn1\x1fidle\x1f"
      "8\x1f"
      "4000\x1fgpu:2\x1fnone\x1f"
      "1:00:00\x1f"
      "1-2\n"
      "main\x1fn2\x1fidle\x1f"
      "8\x1f"
      "4000\x1f(null)\x1fnone\x1finfinite\x1f"
      "1-infinite\n");
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].most_minutes, 60);
  EXPECT_EQ(nodes[0].most_nodes, 2);
  EXPECT_EQ(nodes[1].most_minutes, 0);
  EXPECT_EQ(nodes[1].most_nodes, 0);
}

}  // namespace
}  // namespace lathe::slurm
