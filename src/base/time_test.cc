#include "base/time.h"

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

}  // namespace
}  // namespace lathe
