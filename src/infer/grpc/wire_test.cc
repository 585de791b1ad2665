#include "infer/grpc/wire.h"

#include <gtest/gtest.h>

#include "infer/grpc/status.h"

namespace lathe::infer {
namespace {

using namespace std::literals;

TEST(Wire, ReadsWhatItWrites) {
  std::string message;
  wire::put_number(message, 1, 0xffff'ffff'ffff'ffffULL);
  wire::put_number(message, 2, 0);  // left out
  wire::put_text(message, 3, "text");
  wire::put_bytes(message, 300, "");
  wire::Reader reader(message);
  wire::Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 1U);
  EXPECT_EQ(field.integer(), -1);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 3U);
  EXPECT_EQ(field.bytes, "text");
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 300U);
  EXPECT_EQ(field.type, wire::Type::bytes);
  EXPECT_FALSE(reader.next(field));
  EXPECT_TRUE(reader.good());
}

TEST(Wire, TellsAnEndFromWhatIsMalformed) {
  // Cut off: a tag, a number, a length, bytes, fixed numbers. Then field 0, a group, a number of eleven bytes.
  for (const auto message : {"\x80"sv, "\x08"sv, "\x08\xff"sv, "\x0a"sv, "\x0a\x02x"sv, "\x0d\0\0\0"sv, "\x09\0"sv,
                             "\x00\x01"sv, "\x0b\x0c"sv, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv}) {
    wire::Reader reader(message);
    wire::Field field;
    while (reader.next(field)) {
    }
    EXPECT_FALSE(reader.good()) << testing::PrintToString(message);
  }
}

TEST(GrpcStatus, TimeoutsHaveUnits) {
  using namespace std::chrono_literals;
  EXPECT_EQ(grpc::parse_timeout("100m"), 100ms);
  EXPECT_EQ(grpc::parse_timeout("5S"), 5s);
  EXPECT_EQ(grpc::parse_timeout("99999999n"), 99'999'999ns);
  for (const auto* wrong : {"", "5", "m", "-1S", "999999999S", "1x", "1 S"})
    EXPECT_FALSE(grpc::parse_timeout(wrong)) << wrong;
}

TEST(GrpcStatus, MessagesArePlainText) {
  EXPECT_EQ(grpc::percent_encode("50% of \xc3\xa4\n"), "50%25 of %C3%A4%0A");
}

}  // namespace
}  // namespace lathe::infer
