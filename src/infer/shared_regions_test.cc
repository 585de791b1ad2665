#include "infer/shared_regions.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ids.h"

namespace lathe::infer {
namespace {

class SharedRegionsTest : public ::testing::Test {
 protected:
  SharedRegionsTest() : file_(::shm_open(key_.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600)) {
    EXPECT_EQ(::ftruncate(file_.get(), 100), 0);
  }
  ~SharedRegionsTest() override { ::shm_unlink(key_.c_str()); }

  const std::string key_ = "/lathe-test-" + random_hex(8);
  Fd file_;
  SharedRegions regions_;
};

TEST_F(SharedRegionsTest, BytesGoBothWaysAtTheirPlace) {
  ASSERT_TRUE(regions_.add("r", key_, 10, 50));
  ASSERT_EQ(::pwrite(file_.get(), "hello", 5, 12), 5);
  std::string got(5, ' ');
  ASSERT_TRUE(regions_.read({"r", 2, 5}, got.data()));
  EXPECT_EQ(got, "hello");
  ASSERT_TRUE(regions_.write({"r", 45, 5}, "there"));
  ASSERT_EQ(::pread(file_.get(), got.data(), 5, 55), 5);
  EXPECT_EQ(got, "there");
}

TEST_F(SharedRegionsTest, NamesArePrintable) {
  for (const std::string& bad : {std::string(), std::string(256, 'a'), std::string("a\nb"), std::string("a\tb"),
                                std::string("a\0b", 3), std::string("\x1b[2J"), std::string("\xff")})
    EXPECT_EQ(regions_.add(bad, key_, 0, 100).error().code, Code::invalid) << bad;
  EXPECT_TRUE(regions_.add("größe 1", key_, 0, 100));
}

TEST_F(SharedRegionsTest, NothingReachesPastARegion) {
  ASSERT_TRUE(regions_.add("r", key_, 10, 50));
  std::string room(100, ' ');
  constexpr auto kHuge = ~std::uint64_t{0};
  for (const auto& [offset, size] : {std::pair<std::uint64_t, std::uint64_t>{0, 51}, {50, 1}, {kHuge, 1}, {1, kHuge}})
    EXPECT_FALSE(regions_.read({"r", offset, size}, room.data())) << offset << " " << size;
  EXPECT_FALSE(regions_.write({"r", 49, 1}, "ab"));
  for (const auto& [offset, size] :
       {std::pair<std::uint64_t, std::uint64_t>{0, 101}, {101, 1}, {kHuge, 2}, {2, kHuge}, {0, 0}})
    EXPECT_FALSE(regions_.add("other", key_, offset, size)) << offset << " " << size;
  EXPECT_FALSE(regions_.read({"nobody", 0, 1}, room.data()));
}

TEST_F(SharedRegionsTest, MemoryThatShrinksIsAnErrorAndDoesNotGrowAgain) {
  ASSERT_TRUE(regions_.add("r", key_, 0, 100));
  ASSERT_EQ(::ftruncate(file_.get(), 50), 0);
  std::string room(100, ' ');
  EXPECT_TRUE(regions_.read({"r", 0, 50}, room.data()));
  EXPECT_FALSE(regions_.read({"r", 0, 51}, room.data()));
  EXPECT_FALSE(regions_.write({"r", 50, 1}, "x"));
  EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), 50);
}

TEST_F(SharedRegionsTest, NamesAreCheckedAndUsedOnce) {
  for (const std::string key : {"", "/", "/a/b", "..", "/..", "a/../../etc/passwd"})
    EXPECT_FALSE(regions_.add("r", key, 0, 1)) << key;
  EXPECT_FALSE(regions_.add("", key_, 0, 1));
  EXPECT_FALSE(regions_.add("r", key_ + "-none", 0, 1));
  ASSERT_TRUE(regions_.add("r", key_, 0, 1));
  EXPECT_FALSE(regions_.add("r", key_, 0, 1));
  regions_.remove("r");
  regions_.remove("r");
  ASSERT_TRUE(regions_.add("r", key_.substr(1), 0, 1));
  ASSERT_EQ(regions_.list().size(), 1U);
  EXPECT_EQ(regions_.list().front().key, key_);
  regions_.clear();
  EXPECT_TRUE(regions_.list().empty());
}

}  // namespace
}  // namespace lathe::infer
