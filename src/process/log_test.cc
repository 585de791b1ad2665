#include <gtest/gtest.h>

#include <atomic>

#include "process/log_follow.h"
#include "process/testing.h"

namespace lathe::process {
namespace {

using testing::await;
using testing::await_end;
using testing::groups;
using testing::log_of;
using testing::RunFolder;
using testing::shell;

TEST(Log, OffsetsStayGoodOverRotation) {
  const RunFolder run;
  auto spec = shell("seq 1 20000");
  spec.log_bytes = 32 << 10;
  ASSERT_TRUE(start(run.path(), spec, groups()));
  await_end(run.path());

  std::string all;
  for (int i = 1; i <= 20000; ++i) all += std::to_string(i) + "\n";
  const auto piece = read_log(run.path(), 0);
  ASSERT_TRUE(piece) << piece.error().message;
  EXPECT_GT(piece->dropped, 0U);
  EXPECT_EQ(piece->dropped, piece->begin);
  EXPECT_EQ(all[piece->begin - 1], '\n') << "after a gap it begins at a whole line";
  std::string kept;
  for (auto offset = piece->begin;;) {
    const auto next = read_log(run.path(), offset, 1000);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->dropped, 0U);
    if (next->bytes.empty()) break;
    kept += next->bytes;
    offset = next->next;
  }
  EXPECT_EQ(kept, all.substr(piece->begin));
  EXPECT_LE(kept.size(), 32U << 10);
  EXPECT_GE(kept.size(), 15U << 10);
}

TEST(Log, TheLastLinesCrossParts) {
  const RunFolder run;
  auto spec = shell("seq 1 3000");
  spec.log_bytes = 8 << 10;
  ASSERT_TRUE(start(run.path(), spec, groups()));
  await_end(run.path());
  EXPECT_EQ(*last_lines(run.path(), 3), "2998\n2999\n3000\n");
  const auto many = *last_lines(run.path(), 1000, 6000);
  EXPECT_EQ(many.size(), 1000U * 5);
  EXPECT_EQ(many.substr(0, 5), "2001\n");
}

TEST(Log, TheLastLinesOfAShortLogAreAllOfIt) {
  const RunFolder run;
  EXPECT_EQ(*last_lines(run.path(), 3), "");
  ASSERT_TRUE(start(run.path(), shell("printf 'a\\nb'"), groups()));
  await_end(run.path());
  EXPECT_EQ(*last_lines(run.path(), 3), "a\nb");
  EXPECT_EQ(*last_lines(run.path(), 1), "b");
}

TEST(Log, AReaderSeesEveryByteWhileItRotates) {
  const RunFolder run;
  LogWatch watch;
  std::atomic<int> wakes = 0;
  const auto subscription = watch.subscribe(run.path(), [&] { ++wakes; });
  ASSERT_TRUE(subscription);
  auto spec = shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
  spec.log_bytes = 16 << 10;
  ASSERT_TRUE(start(run.path(), spec, groups()));
  std::string expected;
  for (int i = 0; i < 3000; ++i) expected += "line " + std::to_string(i) + "\n";
  std::uint64_t offset = 0;
  EXPECT_TRUE(await([&] {
    const auto piece = read_log(run.path(), offset);
    EXPECT_TRUE(piece) << piece.error().message;
    if (!piece) return true;
    EXPECT_EQ(piece->bytes, expected.substr(piece->begin, piece->bytes.size()));
    offset = piece->next;
    return offset == expected.size();
  }));
  EXPECT_GT(wakes, 0);
}

TEST(LogWatch, FollowersOfOneFolderAreAllWokenAndASubscriptionEnds) {
  const RunFolder run;
  LogWatch watch;
  std::atomic<int> first = 0;
  std::atomic<int> second = 0;
  auto one = watch.subscribe(run.path(), [&] { ++first; });
  ASSERT_TRUE(one);
  auto two = watch.subscribe(run.path(), [&] { ++second; });
  ASSERT_TRUE(two);
  ASSERT_TRUE(start(run.path(), shell("echo a"), groups()));
  await_end(run.path());
  EXPECT_TRUE(await([&] { return first > 0 && second > 0; }));
  { const auto ended = std::move(*one); }
  const int before = first;
  second = 0;
  ASSERT_EQ(std::system(("touch " + (run.path() / "new").string()).c_str()), 0);
  EXPECT_TRUE(await([&] { return second > 0; }));
  EXPECT_EQ(first, before);
}

}  // namespace
}  // namespace lathe::process
