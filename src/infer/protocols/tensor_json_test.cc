#include "infer/protocols/tensor_json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lathe::infer {
namespace {

/// `{"data": TEXT}` read as a tensor of this type and shape.
Result<Tensor> read(const std::string& text, DataType type, Shape shape) {
  simdjson::padded_string body("{\"data\":" + text + "}");
  ondemand::parser parser;
  LATHE_TRY(auto document, open_json(parser, {body.data(), body.size()}));
  ondemand::value value;
  if (document["data"].get(value) != simdjson::SUCCESS) return fail(Code::invalid, "no data");
  Tensor tensor{"x", type, std::move(shape), {}, {}};
  LATHE_CHECK(read_elements(value, tensor, text.size()));
  return tensor;
}

std::string error(const std::string& text, DataType type, Shape shape) {
  const auto tensor = read(text, type, std::move(shape));
  return tensor ? "" : tensor.error().message;
}

std::string back(const Tensor& tensor) {
  std::string out;
  append_nested(out, tensor);
  return out;
}

TEST(TensorJson, FlatAndNestedAreTheSame) {
  const auto flat = read("[1,2.5,-3,4e2,0,6]", DataType::fp32, {2, 3});
  const auto nested = read("[[1,2.5,-3],[4e2,0,6]]", DataType::fp32, {2, 3});
  ASSERT_TRUE(flat && nested);
  EXPECT_EQ(flat->data, nested->data);
  EXPECT_EQ(back(*flat), "[[1,2.5,-3],[400,0,6]]");
}

TEST(TensorJson, NullIsNaNForFloatsOnly) {
  const auto tensor = read("[null,1]", DataType::fp32, {2});
  ASSERT_TRUE(tensor);
  EXPECT_TRUE(std::isnan(tensor->as<float>()[0]));
  EXPECT_EQ(back(*tensor), "[null,1]");
  EXPECT_EQ(error("[null,1]", DataType::int32, {2}), "input \"x\": expected INT32 at element 0, got null");
}

TEST(TensorJson, WholeTypesKeepTheirRange) {
  EXPECT_TRUE(read("[255,0]", DataType::uint8, {2}));
  EXPECT_NE(error("[256]", DataType::uint8, {1}), "");
  EXPECT_NE(error("[-1]", DataType::uint64, {1}), "");
  EXPECT_NE(error("[18446744073709551616]", DataType::uint64, {1}), "");
  const auto great = read("[18446744073709551615]", DataType::uint64, {1});
  ASSERT_TRUE(great);
  EXPECT_EQ(back(*great), "[18446744073709551615]");
}

TEST(TensorJson, ShapesMustFitTheData) {
  EXPECT_NE(error("[1,2,3]", DataType::fp32, {2}), "");
  EXPECT_NE(error("[1]", DataType::fp32, {2}), "");
  EXPECT_NE(error("[[1,2],[3]]", DataType::fp32, {2, 2}), "");
  EXPECT_NE(error("[[1,2,3],[4]]", DataType::fp32, {2, 2}), "");
  EXPECT_NE(error("[[1],[2],[3],[4]]", DataType::fp32, {2, 2}), "");
  EXPECT_NE(error("[[[1,2]],[[3,4]]]", DataType::fp32, {2, 2}), "");
  EXPECT_NE(error("[[1,2],[3,4]]", DataType::fp32, {4}), "");
  EXPECT_NE(error("[1,2]", DataType::fp32, {1'000'000'000'000}), "");
  EXPECT_EQ(error("[]", DataType::fp32, {0, 3}), "");
  EXPECT_EQ(error("[5]", DataType::fp32, {}), "");
}

TEST(TensorJson, TextsComeBackEscaped) {
  const auto tensor = read(R"(["a\"\\\n\u0001é"])", DataType::bytes, {1});
  ASSERT_TRUE(tensor);
  EXPECT_EQ(back(*tensor), "[\"a\\\"\\\\\\u000a\\u0001é\"]");
}

TEST(TensorJson, DoublesBecomeWholeNumbersOnlyWithoutLoss) {
  const auto convert = [](double number, DataType type) {
    return to_tensor({{1}, {number}, {}}, {"x", type, {-1}}).has_value();
  };
  EXPECT_TRUE(convert(127, DataType::int8));
  EXPECT_FALSE(convert(128, DataType::int8));
  EXPECT_FALSE(convert(-1, DataType::uint64));
  EXPECT_FALSE(convert(0.5, DataType::int64));
  EXPECT_FALSE(convert(9223372036854775808.0, DataType::int64));
  EXPECT_TRUE(convert(-9223372036854775808.0, DataType::int64));
  EXPECT_FALSE(convert(std::nan(""), DataType::int64));
  EXPECT_TRUE(convert(std::nan(""), DataType::fp64));
  EXPECT_FALSE(convert(2, DataType::boolean));
}

}  // namespace
}  // namespace lathe::infer
