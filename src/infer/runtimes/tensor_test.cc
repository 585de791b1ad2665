#include "infer/runtimes/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lathe::infer {
namespace {

TEST(Tensor, NamesGoThereAndBack) {
  for (int i = 0; i <= static_cast<int>(DataType::bytes); ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(parse_data_type(name_of(type)), type);
  }
  EXPECT_FALSE(parse_data_type("fp32"));
}

TEST(Tensor, CountsElementsWithoutOverflow) {
  EXPECT_EQ(element_count({2, 3}, 6), 6U);
  EXPECT_EQ(element_count({}, 6), 1U);
  EXPECT_EQ(element_count({std::int64_t{1} << 62, std::int64_t{1} << 62, 0}, 6), 0U);
  EXPECT_FALSE(element_count({std::int64_t{1} << 62, std::int64_t{1} << 62}, 6));
  EXPECT_FALSE(element_count({7}, 6));
  EXPECT_FALSE(element_count({-1}, 6));
}

TEST(Tensor, EveryHalfComesBackFromFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value))));
    else
      ASSERT_EQ(float_to_half(value), half) << value;
  }
}

TEST(Tensor, HalfRoundsToNearestEven) {
  EXPECT_EQ(half_to_float(float_to_half(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(half_to_float(float_to_half(1.0F + 0x3p-11F)), 1.0F + 0x1p-9F);
  EXPECT_EQ(half_to_float(float_to_half(65519.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(half_to_float(float_to_half(65520.0F))));
}

TEST(Tensor, BrainFloatsAreTheUpperHalfOfSinglePrecision) {
  EXPECT_EQ(float_to_bfloat(1.0F), 0x3f80);
  EXPECT_EQ(bfloat_to_float(0xc000), -2.0F);
  EXPECT_EQ(bfloat_to_float(float_to_bfloat(1.0F + 0x1p-8F)), 1.0F);  // to even
  EXPECT_EQ(bfloat_to_float(float_to_bfloat(1.0F + 0x3p-8F)), 1.0F + 0x1p-6F);
  EXPECT_TRUE(std::isnan(bfloat_to_float(float_to_bfloat(std::nanf("")))));
}

TEST(Tensor, ConvertsNumbersToFloat) {
  Tensor tensor{"t", DataType::int16, {2}, std::vector<char>(4), {}};
  tensor.as<std::int16_t>()[0] = -5;
  tensor.as<std::int16_t>()[1] = 300;
  convert_numbers(tensor, DataType::fp32);
  EXPECT_EQ(tensor.type, DataType::fp32);
  EXPECT_EQ(tensor.as<float>()[0], -5.0F);
  EXPECT_EQ(tensor.as<float>()[1], 300.0F);
  convert_numbers(tensor, DataType::fp64);
  EXPECT_EQ(tensor.type, DataType::fp64);
  EXPECT_EQ(tensor.as<double>()[1], 300.0);
}

}  // namespace
}  // namespace lathe::infer
