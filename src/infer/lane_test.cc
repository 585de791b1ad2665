#include "infer/lane.h"

#include <gtest/gtest.h>

#include <vector>

namespace lathe::infer {
namespace {

/// Keeps what was posted until the test runs it.
struct LaneTest : testing::Test {
  std::vector<std::function<void()>> posted;
  Post post = [this](std::function<void()> work) { posted.push_back(std::move(work)); };
  int done = 0;
  int late = 0;
  Lane::Job job = [this](bool is_late) { ++(is_late ? late : done); };

  void run_posted() {
    auto now = std::move(posted);
    posted.clear();
    for (auto& work : now) work();
  }

  bool submit(Lane& lane, std::chrono::seconds limit = std::chrono::seconds(60)) {
    return lane.submit(post, Lane::Clock::now() + limit, job);
  }
};

TEST_F(LaneTest, RunsSoManyQueuesSoManyAndRefusesTheRest) {
  Lane lane(2, 3);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(submit(lane));
  EXPECT_FALSE(submit(lane));
  EXPECT_EQ(posted.size(), 2U);
  run_posted();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(posted.size(), 2U);
  EXPECT_TRUE(submit(lane));
  run_posted();
  run_posted();
  EXPECT_EQ(done, 6);
  EXPECT_TRUE(posted.empty());
  EXPECT_TRUE(submit(lane));
  EXPECT_EQ(posted.size(), 1U);
  run_posted();
}

TEST_F(LaneTest, TellsAJobThatItsTimeIsOver) {
  Lane lane(1, 1);
  EXPECT_TRUE(submit(lane, std::chrono::seconds(-1)));
  run_posted();
  EXPECT_EQ(late, 1);
}

TEST(CostEstimate, FollowsWhatWasTaken) {
  using std::chrono::microseconds;
  CostEstimate cost(microseconds(5), 100);
  EXPECT_EQ(cost.of(10), microseconds(5));
  EXPECT_EQ(cost.of(1000), microseconds(50));
  for (int i = 0; i < 100; ++i) cost.add(microseconds(20), 200);
  EXPECT_NEAR(static_cast<double>(cost.of(200).count()), 20000, 1000);
}

}  // namespace
}  // namespace lathe::infer
