#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/held_folder.h"
#include "base/ids.h"

namespace lathe {
namespace {

struct FileTest : ::testing::Test {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-file-test-" + random_hex(4));
  FileTest() { std::filesystem::create_directories(folder); }
  ~FileTest() override { std::filesystem::remove_all(folder); }
};

TEST_F(FileTest, AWrittenFileReadsBackWithItsMode) {
  ASSERT_TRUE(write_file(folder / "a", "hello", 0640));
  EXPECT_EQ(read_file(folder / "a").value(), "hello");
  struct stat found {};
  ASSERT_EQ(::stat((folder / "a").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0640U);
}

TEST_F(FileTest, AFileOverTheLimitIsRefused) {
  ASSERT_TRUE(write_file(folder / "a", std::string(1000, 'x')));
  EXPECT_EQ(read_file(folder / "a", 999).error().code, Code::exhausted);
}

TEST_F(FileTest, AMissingFileIsNotFound) { EXPECT_EQ(read_file(folder / "none").error().code, Code::not_found); }

TEST_F(FileTest, APathThatLeadsOutsideIsInvalid) {
  std::filesystem::create_symlink("/etc", folder / "link");
  std::filesystem::create_directory(folder / "a");
  for (const char* path : {"../x", "link/passwd", "/etc/passwd", "a/../../x"})
    EXPECT_EQ(open_beneath(folder, path, O_RDONLY).error().code, Code::invalid) << path;
}

TEST_F(FileTest, APathInsideOpens) {
  ASSERT_TRUE(write_file(folder / "a", "x"));
  EXPECT_TRUE(open_beneath(folder, "a", O_RDONLY));
}

TEST_F(FileTest, AFolderIsOpenedThroughNoLinkAndStaysTheSame) {
  ASSERT_TRUE(make_folder(folder / "work" / "out"));
  ASSERT_TRUE(write_file(folder / "work" / "out" / "a", "x"));
  const auto held = open_folder(folder, "work/out");
  ASSERT_TRUE(held) << held.error().message;
  std::filesystem::rename(folder / "work", folder / "was");
  std::filesystem::create_directory_symlink(folder / "was", folder / "work");
  EXPECT_EQ(open_folder(folder, "work/out").error().code, Code::invalid);
  EXPECT_EQ(open_folder(folder, "../x").error().code, Code::invalid);
  EXPECT_EQ(open_folder(folder, "none").error().code, Code::not_found);
  EXPECT_EQ(read_file(path_of(*held) / "a").value(), "x");
}

}  // namespace
}  // namespace lathe
