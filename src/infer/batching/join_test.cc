#include "infer/batching/join.h"

#include <gtest/gtest.h>

namespace lathe::infer {
namespace {

Tensor numbers(std::vector<float> values, Shape shape) {
  Tensor tensor{"x", DataType::fp32, std::move(shape), {}, {}};
  const auto* const bytes = reinterpret_cast<const char*>(values.data());
  tensor.data.assign(bytes, bytes + values.size() * sizeof(float));
  return tensor;
}

std::vector<float> values_of(const Tensor& tensor) {
  return {tensor.as<float>(), tensor.as<float>() + tensor.count()};
}

TEST(Join, PutsRowsOneAfterTheOtherAndCutsThemAgain) {
  const std::vector<Tensor> one{numbers({1, 2}, {1, 2}), {"t", DataType::bytes, {1}, {}, {"a"}}};
  const std::vector<Tensor> none{numbers({}, {0, 2}), {"t", DataType::bytes, {0}, {}, {}}};
  const std::vector<Tensor> two{numbers({3, 4, 5, 6}, {2, 2}), {"t", DataType::bytes, {2}, {}, {"b", "c"}}};
  const std::vector<const std::vector<Tensor>*> all{&one, &none, &two};
  const auto joined = join_inputs(all);
  EXPECT_EQ(joined[0].shape, (Shape{3, 2}));
  EXPECT_EQ(values_of(joined[0]), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(joined[1].texts, (std::vector<std::string>{"a", "b", "c"}));
  for (const auto& [first, expected] :
       {std::pair<std::size_t, const std::vector<Tensor>*>{0, &one}, {1, &none}, {1, &two}})
    for (std::size_t i = 0; i < 2; ++i) {
      const auto rows = static_cast<std::size_t>((*expected)[i].shape.front());
      const auto cut = cut_rows(joined[i], 3, first, rows);
      ASSERT_TRUE(cut);
      EXPECT_EQ(cut->shape, (*expected)[i].shape);
      EXPECT_EQ(cut->data, (*expected)[i].data);
      EXPECT_EQ(cut->texts, (*expected)[i].texts);
    }
}

TEST(Join, RefusesAnOutputThatIsNotARowForEachRow) {
  EXPECT_FALSE(cut_rows(numbers({1}, {}), 1, 0, 1));
  EXPECT_FALSE(cut_rows(numbers({1, 2}, {1, 2}), 2, 0, 1));
}

TEST(Join, CountsRowsThatAllInputsShare) {
  const std::vector<Tensor> good{numbers({1, 2}, {2, 1}), numbers({1, 2, 3, 4}, {2, 2})};
  EXPECT_EQ(count_rows(good, 2), 2U);
  EXPECT_NE(count_rows(good, 1).error().message.find("max_batch_size"), std::string::npos);
  const std::vector<Tensor> uneven{numbers({1, 2}, {2, 1}), numbers({1}, {1, 1})};
  EXPECT_FALSE(count_rows(uneven, 8));
  const std::vector<Tensor> scalar{numbers({1}, {})};
  EXPECT_FALSE(count_rows(scalar, 8));
}

TEST(Join, RequestsOfOneKindDifferInTheirRowsAlone) {
  const std::vector<Tensor> a{numbers({1, 2}, {1, 2})};
  const std::vector<Tensor> b{numbers({1, 2, 3, 4}, {2, 2})};
  const std::vector<Tensor> c{numbers({1, 2}, {2, 1})};
  EXPECT_EQ(kind_of(a), kind_of(b));
  EXPECT_NE(kind_of(a), kind_of(c));
  const std::vector<Tensor> d{{"x", DataType::int32, {1, 2}, {}, {}}};
  EXPECT_NE(kind_of(a), kind_of(d));
}

}  // namespace
}  // namespace lathe::infer
