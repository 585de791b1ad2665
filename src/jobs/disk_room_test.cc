#include "jobs/disk_room.h"

#include <gtest/gtest.h>
#include <sys/statvfs.h>

namespace lathe::jobs {
namespace {

TEST(DiskRoom, ReadsSizesAndShares) {
  EXPECT_EQ(parse_low_water("500MiB")->bytes, std::uint64_t{500} << 20);
  EXPECT_EQ(parse_low_water("1.5GiB")->bytes, std::uint64_t{1536} << 20);
  EXPECT_EQ(parse_low_water("5%")->share, 0.05);
  EXPECT_EQ(parse_low_water("auto")->bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(parse_low_water("0")->bytes, 0U);
  for (const auto* wrong : {"", "5", "-1GiB", "101%", "nan%", "5 GiB", "GiB", "1e400GiB"})
    EXPECT_FALSE(parse_low_water(wrong)) << wrong;
}

TEST(DiskRoom, IsShortBelowTheMarkAlone) {
  EXPECT_FALSE(DiskRoom({"/tmp"}, *parse_low_water("0")).shortage());
  struct statvfs disk {};
  ASSERT_EQ(::statvfs("/tmp", &disk), 0);
  const auto short_of = DiskRoom({"/tmp"}, *parse_low_water("100%")).shortage();
  ASSERT_EQ(short_of.has_value(), disk.f_bavail < disk.f_blocks);
  EXPECT_NE(short_of->find("disk_low_water"), std::string::npos);
}

}  // namespace
}  // namespace lathe::jobs
