#include "base/iso8601.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

using std::chrono::seconds;

TEST(Duration, UnitsAndIsoFormsAreRead) {
  EXPECT_EQ(parse_duration("90").value(), seconds{90});
  EXPECT_EQ(parse_duration("5m").value(), seconds{300});
  EXPECT_EQ(parse_duration("PT1H30M").value(), seconds{5400});
  EXPECT_EQ(parse_duration("P1DT1S").value(), seconds{86401});
}

TEST(Duration, RubbishIsInvalid) {
  for (const char* text : {"", "-1", "5x", "h", "99999999999999999999", "9223372036854775807d"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Time, IsWrittenInUtcWithMicroseconds) {
  EXPECT_EQ(to_iso8601(from_micros(1'777'638'600'123'456)), "2026-05-01T12:30:00.123456Z");
}

TEST(Time, IsReadWithAnyFractionAndOffset) {
  EXPECT_EQ(micros(parse_iso8601("2026-05-01T12:30:00.123456Z").value()), 1'777'638'600'123'456);
  EXPECT_EQ(micros(parse_iso8601("2026-05-01T12:30:00.5Z").value()), 1'777'638'600'500'000);
  EXPECT_EQ(micros(parse_iso8601("2026-05-01T14:30:00.123456789+02:00").value()), 1'777'638'600'123'456);
  EXPECT_EQ(micros(parse_iso8601("1969-12-31T23:59:59.999999Z").value()), -1);
  for (const char* text : {"", "2026-05-01", "2026-02-30T00:00:00Z", "2026-05-01T24:00:00Z", "2026-05-01T12:30:00", "x",
                           "2026-05-01T12:30:00Zx", "-026-05-01T12:30:00Z", "2026-05-01T12:30:00+0200", "2026-05-01T12:30:-1Z"})
    EXPECT_FALSE(parse_iso8601(text)) << text;
}

}  // namespace
TEST(Durations, ArePrintedAsShortAsTheyCanBeAndReadAgain) {
  EXPECT_EQ(print_duration(std::chrono::seconds{7200}), "PT2H");
  EXPECT_EQ(print_duration(std::chrono::seconds{5400}), "PT90M");
  EXPECT_EQ(print_duration(std::chrono::seconds{45}), "PT45S");
  EXPECT_EQ(parse_duration(print_duration(std::chrono::seconds{5400})).value(), std::chrono::seconds{5400});
}

}  // namespace lathe
