#include "infer/sample_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace lathe::infer {
namespace {

constexpr std::size_t kMostElements = std::size_t{1} << 20;

Tensor sample(const TensorInfo& info, std::size_t most) {
  std::size_t features = 1;
  for (std::size_t i = 1; i < info.shape.size(); ++i)
    features *= static_cast<std::size_t>(std::max<std::int64_t>(info.shape[i], 1));
  const auto rows = std::clamp<std::size_t>(kMostElements / features, 1, most);
  Tensor tensor{info.name, info.type, info.shape, {}, {}};
  for (auto& size : tensor.shape) size = std::max<std::int64_t>(size, 1);
  if (!info.shape.empty() && info.shape[0] < 0) tensor.shape[0] = static_cast<std::int64_t>(rows);
  const std::size_t count = features * (tensor.shape.empty() ? 1 : static_cast<std::size_t>(tensor.shape[0]));
  if (info.type == DataType::bytes) {
    tensor.texts.resize(count);
    return tensor;
  }
  const auto numbers = sample_rows(count / features, features, false);
  tensor.data.resize(count * size_of(info.type));
  with_element_type(info.type, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t i = 0; i < count; ++i) {
      if constexpr (std::is_floating_point_v<T>)
        tensor.as<T>()[i] = static_cast<T>(numbers[i]);
      else if (info.type == DataType::fp16)
        tensor.as<T>()[i] = static_cast<T>(float_to_half(numbers[i]));
      else  // small and not negative, so that it fits every type, and may be an index
        tensor.as<T>()[i] = static_cast<T>(std::fabs(numbers[i]) < 1 ? 0 : 1);
    }
  });
  return tensor;
}

}  // namespace

std::vector<float> sample_rows(std::size_t count, std::size_t features, bool gaps) {
  std::mt19937 random(20240501);
  std::vector<float> rows(count * features);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = i / features;
    const float scale = std::pow(10.0F, static_cast<float>(row % 8) - 3.0F);
    rows[i] = scale * std::normal_distribution<float>(row % 3 == 0 ? 0.0F : 1.0F)(random);
    if (gaps && row % 4 == 3 && random() % 5 == 0) rows[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return rows;
}

std::vector<Tensor> sample_inputs(const Model& model, std::size_t most) {
  std::vector<Tensor> inputs;
  for (const auto& info : model.inputs()) inputs.push_back(sample(info, most));
  return inputs;
}

}  // namespace lathe::infer
