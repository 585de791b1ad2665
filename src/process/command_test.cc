#include "process/command.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>

#include "process/log_append.h"
#include "process/log_follow.h"

namespace lathe::process {
namespace {

using std::chrono::milliseconds;

TEST(Command, ReadsItsInputAndSaysHowItEnded) {
  const auto done = run_command({"sh", "-c", "cat; echo oops >&2; exit 3"}, "some input", milliseconds{10'000});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->out, "some input");
  EXPECT_EQ(done->err, "oops\n");
  EXPECT_EQ(done->status, 3);
}

TEST(Command, TakesMoreInputThanAPipeHoldsFromOneThatDoesNotRead) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto done = run_command({"true"}, std::string(1 << 20, 'x'), milliseconds{10'000});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->status, 0);
}

TEST(Command, ItSeesTheVariablesThatAreKept) {
  ::setenv("LATHE_TEST_SECRET", "1", 1);
  ::setenv("LATHE_TEST_KEPT", "2", 1);
  const auto done = run_command({"/usr/bin/env"}, "", milliseconds{10'000}, {"LATHE_TEST_K"});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->out, "LATHE_TEST_KEPT=2\n");
}

TEST(Command, OneThatDoesNotEndIsKilled) {
  EXPECT_EQ(run_command({"sleep", "600"}, "", milliseconds{50}).error().code, Code::timeout);
}

TEST(Command, AProgramThatIsNotThereIsNamed) {
  const auto done = run_command({"lathe-no-such-program"}, "", milliseconds{1000});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::not_found);
  EXPECT_NE(done.error().message.find("lathe-no-such-program"), std::string::npos);
}

class AppendedLog : public testing::Test {
 protected:
  AppendedLog() {
    char name[] = "/tmp/lathe-log-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~AppendedLog() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(AppendedLog, APieceThatComesTwiceIsThereOnce) {
  EXPECT_EQ(append_log(folder_, 0, "first\n", 1 << 20).value_or(0), 6u);
  EXPECT_EQ(append_log(folder_, 0, "first\n", 1 << 20).value_or(0), 6u);
  EXPECT_EQ(append_log(folder_, 3, "st\nsecond\n", 1 << 20).value_or(0), 13u);
  EXPECT_EQ(read_log(folder_, 0)->bytes, "first\nsecond\n");
}

TEST_F(AppendedLog, APieceThatLeavesAGapIsNotTaken) {
  EXPECT_EQ(append_log(folder_, 0, "first\n", 1 << 20).value_or(0), 6u);
  EXPECT_EQ(append_log(folder_, 9, "later\n", 1 << 20).value_or(0), 6u);
}

TEST_F(AppendedLog, ItStaysBelowItsCapAndOffsetsStayGood) {
  const std::string line(99, 'x');
  std::uint64_t at = 0;
  for (int i = 0; i < 100; ++i) at = append_log(folder_, at, line + "\n", 2000).value_or(0);
  EXPECT_EQ(at, 10'000u);
  std::uintmax_t size = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) size += entry.file_size();
  EXPECT_LE(size, 2000u);
  EXPECT_EQ(read_log(folder_, 9'900)->bytes, line + "\n");
}

}  // namespace
}  // namespace lathe::process
