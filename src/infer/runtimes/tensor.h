#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::infer {

/// The Open Inference Protocol's element types.
enum class DataType : std::uint8_t {
  boolean,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  fp16,
  bf16,
  fp32,
  fp64,
  bytes
};

/// "FP32", ...
std::string_view name_of(DataType type);
std::optional<DataType> parse_data_type(std::string_view name);
/// Bytes of one element; 0 for `bytes`, whose elements are texts.
std::size_t size_of(DataType type);
bool is_floating(DataType type);

/// -1 stands for any size.
using Shape = std::vector<std::int64_t>;

/// "[-1,30]"
std::string print(const Shape& shape);
/// Errors: `invalid` for a negative size, or more elements than `most`.
Result<std::size_t> element_count(const Shape& shape, std::size_t most);

/// Elements in row-major order: in `data`, in the machine's byte order, or, for type `bytes`, in `texts`.
struct Tensor {
  std::string name;
  DataType type = DataType::fp32;
  Shape shape;
  std::vector<char> data;
  std::vector<std::string> texts;

  std::size_t count() const { return type == DataType::bytes ? texts.size() : data.size() / size_of(type); }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data.data());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data.data());
  }
};

/// What a model takes or gives.
struct TensorInfo {
  std::string name;
  DataType type = DataType::fp32;
  Shape shape;
};

/// IEEE half precision.
float half_to_float(std::uint16_t half);
std::uint16_t float_to_half(float value);
/// The upper half of single precision.
float bfloat_to_float(std::uint16_t value);
std::uint16_t float_to_bfloat(float value);

/// Calls `f` with a value of the C++ type of `type` (bool as std::uint8_t, FP16 and BF16 as std::uint16_t); not for
/// `bytes`.
template <class F>
decltype(auto) with_element_type(DataType type, F&& f) {
  switch (type) {
    case DataType::boolean:
    case DataType::uint8:
      return f(std::uint8_t{});
    case DataType::uint16:
    case DataType::fp16:
    case DataType::bf16:
      return f(std::uint16_t{});
    case DataType::uint32:
      return f(std::uint32_t{});
    case DataType::uint64:
      return f(std::uint64_t{});
    case DataType::int8:
      return f(std::int8_t{});
    case DataType::int16:
      return f(std::int16_t{});
    case DataType::int32:
      return f(std::int32_t{});
    case DataType::int64:
      return f(std::int64_t{});
    case DataType::fp64:
      return f(double{});
    default:
      return f(float{});
  }
}

/// Turns numbers of any type into FP32 or FP64. Not for `bytes`.
void convert_numbers(Tensor& tensor, DataType to);

}  // namespace lathe::infer
