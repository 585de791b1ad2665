#include "jobs/follow.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace lathe::jobs {
namespace {

namespace fs = std::filesystem;

/// A job whose state and log the test writes.
class Follow : public ::testing::Test {
 protected:
  Follow() {
    std::string name = (fs::temp_directory_path() / "lathe-follow-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Follow() override { fs::remove_all(folder_); }

  void print(const std::string& text) { std::ofstream(folder_ / "log", std::ios::app | std::ios::binary) << text; }
  void become(const std::string& status, bool ended) {
    status_ = status;
    ended_ = ended;
    if (changed_) changed_();
  }
  std::unique_ptr<http::Source> stream(std::uint64_t offset = 0) {
    Followed what;
    what.look = [this]() -> Result<Glance> { return Glance{json::Object{{"status", status_}}, ended_, folder_}; };
    what.on_change = [this](std::function<void()> wake) {
      changed_ = std::move(wake);
      return std::make_shared<int>(0);
    };
    what.log_watch = &watch_;
    auto source = follow(std::move(what), offset);
    source->on_wake([] {});
    return source;
  }
  /// All events that are there now.
  static std::string read(http::Source& source, http::Source::Step* last = nullptr) {
    std::string out;
    for (;;) {
      const auto step = source.read(out).value();
      if (last != nullptr) *last = step;
      if (step != http::Source::Step::more) return out;
    }
  }

  fs::path folder_;
  std::string status_ = "Queued";
  bool ended_ = false;
  std::function<void()> changed_;
  process::LogWatch watch_;
};

TEST_F(Follow, ShowsTheStateThenOutputAsItComesAndEndsWithTheJob) {
  auto source = stream();
  EXPECT_EQ(read(*source), "event: state\ndata: {\"status\":\"Queued\"}\n\n");
  become("Running", false);
  print("one\n");
  EXPECT_EQ(read(*source),
            "event: state\ndata: {\"status\":\"Running\"}\n\n"
            "event: log\nid: 4\ndata: {\"offset\":0,\"text\":\"one\\n\",\"next\":4}\n\n");
  EXPECT_EQ(read(*source), "");
  print("two\n");
  become("Completed", true);
  auto last = http::Source::Step::wait;
  EXPECT_EQ(read(*source, &last),
            "event: state\ndata: {\"status\":\"Completed\"}\n\n"
            "event: log\nid: 8\ndata: {\"offset\":4,\"text\":\"two\\n\",\"next\":8}\n\n"
            "event: end\nid: 8\ndata: {\"status\":\"Completed\"}\n\n");
  EXPECT_EQ(last, http::Source::Step::end);
}

TEST_F(Follow, GoesOnWhereAClientLeftOff) {
  print("one\ntwo\n");
  become("Completed", true);
  auto source = stream(4);
  const auto events = read(*source);
  EXPECT_EQ(events.find("one"), std::string::npos);
  EXPECT_NE(events.find("\"offset\":4,\"text\":\"two\\n\""), std::string::npos) << events;
}

TEST_F(Follow, ACharacterThatComesInTwoPartsIsSentWhole) {
  auto source = stream();
  become("Running", false);
  print("\xC3");
  EXPECT_EQ(read(*source).find("event: log"), std::string::npos);
  print("\xA4!");
  EXPECT_NE(read(*source).find("\"offset\":0,\"text\":\"\xC3\xA4!\",\"next\":3"), std::string::npos);
}

TEST_F(Follow, TheSameStateIsShownOnce) {
  auto source = stream();
  read(*source);
  become("Queued", false);
  EXPECT_EQ(read(*source), "");
}

TEST_F(Follow, TheLogSoFarIsTheBytesThemselves) {
  print("a\xFF\n");
  auto source = log_so_far(folder_, 1);
  EXPECT_EQ(read(*source), "\xFF\n");
  EXPECT_EQ(read(*log_so_far(folder_ / "none", 0)), "");
}

}  // namespace
}  // namespace lathe::jobs
