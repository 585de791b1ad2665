#include "infer/runtimes/tensor.h"

#include <array>
#include <bit>
#include <cmath>

namespace lathe::infer {
namespace {

struct TypeRow {
  std::string_view name;
  std::size_t bytes;
};

/// In the order of `DataType`.
constexpr std::array<TypeRow, 14> kTypes{{{"BOOL", 1},
                                          {"UINT8", 1},
                                          {"UINT16", 2},
                                          {"UINT32", 4},
                                          {"UINT64", 8},
                                          {"INT8", 1},
                                          {"INT16", 2},
                                          {"INT32", 4},
                                          {"INT64", 8},
                                          {"FP16", 2},
                                          {"BF16", 2},
                                          {"FP32", 4},
                                          {"FP64", 8},
                                          {"BYTES", 0}}};

}  // namespace

std::string_view name_of(DataType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::size_t size_of(DataType type) {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}

bool is_floating(DataType type) {
  return type == DataType::fp16 || type == DataType::bf16 || type == DataType::fp32 || type == DataType::fp64;
}

std::optional<DataType> parse_data_type(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<DataType>(i);
  return std::nullopt;
}

std::string print(const Shape& shape) {
  std::string out = "[";
  for (const auto size : shape) {
    if (out.size() > 1) out += ',';
    out += std::to_string(size);
  }
  return out + "]";
}

Result<std::size_t> element_count(const Shape& shape, std::size_t most) {
  std::size_t count = 1;
  bool empty = false;
  for (const auto size : shape) {
    if (size < 0) return fail(Code::invalid, "shape " + print(shape) + " holds a negative size");
    if (size == 0)
      empty = true;
    else if (count > most / static_cast<std::size_t>(size))
      count = most + 1;
    else
      count *= static_cast<std::size_t>(size);
  }
  if (empty) return std::size_t{0};
  if (count > most) return fail(Code::invalid, "shape " + print(shape) + " has more elements than the request holds");
  return count;
}

float half_to_float(std::uint16_t half) {
  const auto sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const auto exponent = (half >> 10) & 0x1fU;
  const auto fraction = static_cast<std::uint32_t>(half & 0x3ffU);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const auto bits = exponent == 31 ? 0x7f800000U | fraction << 13 : (exponent + 112U) << 23 | fraction << 13;
  return std::bit_cast<float>(sign | bits);
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = (bits >> 16) & 0x8000U;
  const auto magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);   // NaN
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // rounds to infinity
  if (magnitude < 0x38800000U) {                                                    // subnormal or zero
    const auto fraction = static_cast<std::uint32_t>(std::lrint(std::ldexp(std::bit_cast<float>(magnitude), 24)));
    return static_cast<std::uint16_t>(sign | fraction);
  }
  const auto rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);  // to nearest, ties to even
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

float bfloat_to_float(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

std::uint16_t float_to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);  // to nearest, ties to even
}

namespace {

template <class To>
std::vector<char> converted(const Tensor& tensor) {
  const auto count = tensor.count();
  std::vector<char> bytes(count * sizeof(To));
  auto* out = reinterpret_cast<To*>(bytes.data());
  const auto type = tensor.type;
  with_element_type(tensor.type, [&](auto zero) {
    using T = decltype(zero);
    const auto* in = tensor.as<T>();
    for (std::size_t i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<T, std::uint16_t>)
        out[i] = static_cast<To>(type == DataType::fp16   ? half_to_float(in[i])
                                 : type == DataType::bf16 ? bfloat_to_float(in[i])
                                                          : static_cast<float>(in[i]));
      else
        out[i] = static_cast<To>(in[i]);
    }
  });
  return bytes;
}

}  // namespace

void convert_numbers(Tensor& tensor, DataType to) {
  if (tensor.type == to) return;
  tensor.data = to == DataType::fp64 ? converted<double>(tensor) : converted<float>(tensor);
  tensor.type = to;
}

}  // namespace lathe::infer
