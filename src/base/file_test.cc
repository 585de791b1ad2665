#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

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

}  // namespace
}  // namespace lathe
