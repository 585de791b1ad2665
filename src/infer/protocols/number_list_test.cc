#include "infer/protocols/number_list.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace lathe::infer {
namespace {

std::optional<std::vector<float>> floats_of(std::string list, std::size_t most = 10) {
  list.append(8, '9');  // what happens to be in memory behind it
  std::vector<float> out(most);
  const auto count = read_floats(list.data(), out.data(), most);
  if (!count) return std::nullopt;
  out.resize(*count);
  return out;
}

/// The float of the nearest double, by the library.
float expected(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return static_cast<float>(value);
}

using Floats = std::vector<float>;

TEST(NumberList, ReadsWhatJsonCallsANumber) {
  EXPECT_EQ(floats_of("]"), Floats{});
  EXPECT_EQ(floats_of(" \n]"), Floats{});
  EXPECT_EQ(floats_of("1]"), Floats{1});
  EXPECT_EQ(floats_of("0, -3 ,\t2.5,\r\n1e2,-12.5E-1,0.000001,1E+2]"),
            (Floats{0, -3, 2.5, 100, -1.25, 0.000001F, 100}));
  EXPECT_TRUE(std::signbit(floats_of("-0]")->front()));
  EXPECT_TRUE(std::signbit(floats_of("-0.0]")->front()));
}

TEST(NumberList, LeavesTheRestToOthers) {
  for (const char* list : {"null]", "1,]",   ",1]",    "01]",    "-]",     "+1]",   "1.]",  ".5]",       "1.e2]",
                           "1e]",   "1e+]",  "[1]]",   "\"1\"]", "1 2]",   "true]", "NaN]", "Infinity]", "-Infinity]",
                           "0x10]", "1e39]", "1e999]", "1}",     "1.2.3]", "--1]",  "1,,2]"})
    EXPECT_FALSE(floats_of(list)) << list;
  EXPECT_FALSE(floats_of("1,2,3]", 2));
  EXPECT_TRUE(floats_of("1,2,3]", 3));
}

TEST(NumberList, KeepsToTheListsEnd) {
  EXPECT_EQ(floats_of("0.1234567]"), Floats{0.1234567F});  // the eight bytes read at once go past it
  EXPECT_EQ(floats_of("0.12345678]"), Floats{0.12345678F});
}

/// Texts of all lengths, whose nearest doubles the library knows.
TEST(NumberList, AgreesWithTheLibrary) {
  std::mt19937_64 random(7);
  std::size_t tried = 0;
  const auto agree = [&](const std::string& text) {
    const auto read = floats_of(text + "]");
    const float wanted = expected(text);
    ++tried;
    ASSERT_EQ(read.has_value(), std::isfinite(wanted)) << text;
    if (read) {
      EXPECT_EQ(0, std::memcmp(&read->front(), &wanted, sizeof wanted)) << text << " read as " << read->front();
    }
  };
  for (int i = 0; i < 200'000; ++i) {
    char text[64];
    // Doubles of floats, which is what clients mostly send, and those around the middle of two of them.
    auto bits = static_cast<std::uint32_t>(random());
    float single = 0;
    std::memcpy(&single, &bits, sizeof bits);
    if (!std::isfinite(single)) continue;
    const double middle = (static_cast<double>(single) + std::nextafter(single, 1e30F)) / 2;
    for (const double value :
         {static_cast<double>(single), middle, std::nextafter(middle, 0.0), std::nextafter(middle, 1e300)}) {
      if (!std::isfinite(value)) continue;
      agree(std::string(text, std::to_chars(text, text + sizeof text, value).ptr));
      const auto fixed = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
      if (fixed.ec == std::errc{}) agree(std::string(text, fixed.ptr));
    }
    // Digits as they come, with a point somewhere.
    auto digits = std::to_string(random() >> (random() % 60));
    const auto point = random() % (digits.size() + 1);
    agree(point == digits.size()
              ? digits
              : (point == 0 ? "0" : digits.substr(0, point)).append(".").append(digits.substr(point)));
  }
  EXPECT_GT(tried, 1'000'000U);
}

}  // namespace
}  // namespace lathe::infer
