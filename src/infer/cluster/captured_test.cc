#include "infer/cluster/captured.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

struct HandOverTest : testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-hand-over-" + random_hex(4));
  fs::path below = folder / "e/d/model_inputs/2026/11";
  std::map<std::string, std::string> server;  ///< by digest
  std::size_t sent = 0;                       ///< bytes
  std::size_t breaks_after = std::string::npos;

  HandOverTest() { fs::create_directories(below); }
  ~HandOverTest() override { fs::remove_all(folder); }

  void write(const fs::path& path, const std::string& content) const { ASSERT_TRUE(write_file(path, content)); }

  Result<std::uint64_t> take(const CapturedFile& file, std::uint64_t offset, std::string_view piece) {
    if (sent >= breaks_after) return fail(Code::unavailable, "the connection broke");
    auto& have = server[file.sha256];
    if (have.size() == offset) {
      have += piece;
      sent += piece.size();
    }
    return have.size();
  }
  HandOver hand_over() {
    return {folder, [this](const auto& file, auto offset, auto piece) { return take(file, offset, piece); }};
  }
};

TEST_F(HandOverTest, ClosedFilesGoAndTheirFoldersWithThem) {
  write(below / "aa.jsonl", "one\n");
  write(below / "bb.jsonl", "two\n");
  fs::create_directories(folder / ".open");
  write(folder / ".open/cc.jsonl", "three\n");
  auto over = hand_over();
  ASSERT_TRUE(over.run([] { return false; }));
  EXPECT_EQ(server.size(), 2U);
  EXPECT_EQ(server[sha256_hex("two\n")], "two\n");
  EXPECT_FALSE(fs::exists(folder / "e"));
  EXPECT_TRUE(fs::exists(folder / ".open/cc.jsonl")) << "it is being written";
}

TEST_F(HandOverTest, WhatBrokeGoesOnWhereItWas) {
  const std::string large(std::size_t{5} << 20, 'x');
  write(below / "aa.jsonl", large);
  breaks_after = std::size_t{3} << 20;
  auto over = hand_over();
  EXPECT_EQ(over.run([] { return false; }).error().code, Code::unavailable);
  EXPECT_TRUE(fs::exists(below / "aa.jsonl"));
  breaks_after = std::string::npos;
  auto another = hand_over();  // of a process that was started again
  ASSERT_TRUE(another.run([] { return false; }));
  EXPECT_EQ(server[sha256_hex(large)], large);
  EXPECT_EQ(sent, large.size()) << "nothing was sent twice";
  EXPECT_FALSE(fs::exists(below / "aa.jsonl"));
}

TEST_F(HandOverTest, WhatIsRefusedStaysAndStopsNoOther) {
  write(below / "aa.jsonl", "bad\n");
  write(below / "bb.jsonl", "good\n");
  int asked = 0;
  HandOver over(folder, [&](const CapturedFile& file, auto offset, auto piece) -> Result<std::uint64_t> {
    ++asked;
    if (file.path == "e/d/model_inputs/2026/11/aa.jsonl") return fail(Code::invalid, "no");
    return take(file, offset, piece);
  });
  ASSERT_TRUE(over.run([] { return false; }));
  ASSERT_TRUE(over.run([] { return false; }));
  EXPECT_EQ(asked, 2) << "it is not offered again at once";
  EXPECT_TRUE(fs::exists(below / "aa.jsonl"));
  EXPECT_FALSE(fs::exists(below / "bb.jsonl"));
}

TEST_F(HandOverTest, AServerThatNeverHasItWholeIsNotAskedForEver) {
  write(below / "aa.jsonl", "lost\n");
  int asked = 0;
  HandOver over(folder, [&](const auto&, auto, auto) -> Result<std::uint64_t> { return ++asked, 0; });
  EXPECT_EQ(over.run([&] { return asked > 100; }).error().code, Code::unavailable);
  EXPECT_TRUE(fs::exists(below / "aa.jsonl"));
}

}  // namespace
}  // namespace lathe::infer
