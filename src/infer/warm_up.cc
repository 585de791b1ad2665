#include "infer/warm_up.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "infer/batching/join.h"
#include "infer/protocols/infer_request.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  ///< as many as a request may have

/// Numbers: zeros, or random ones: of whole types 0 and 1, which may be indexes.
Result<Tensor> make_tensor(const std::string& name, DataType type, Shape shape, bool random, std::mt19937& source) {
  const auto each = type == DataType::bytes ? sizeof(std::string) : size_of(type);
  const auto counted = element_count(shape, kMostBytes / each);
  if (!counted)
    return fail(Code::invalid, "input \"" + name + "\" of the shape " + print(shape) + " has more than 256 MiB");
  const auto count = *counted;
  Tensor tensor{name, type, std::move(shape), {}, {}};
  if (type == DataType::bytes) {
    tensor.texts.resize(count);
    return tensor;
  }
  tensor.data.resize(count * size_of(type));
  if (!random) return tensor;
  std::normal_distribution<float> normal;
  with_element_type(type, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t i = 0; i < count; ++i) {
      if constexpr (std::is_floating_point_v<T>)
        tensor.as<T>()[i] = static_cast<T>(normal(source));
      else if (type == DataType::fp16)
        tensor.as<T>()[i] = static_cast<T>(float_to_half(normal(source)));
      else if (type == DataType::bf16)
        tensor.as<T>()[i] = static_cast<T>(float_to_bfloat(normal(source)));
      else
        tensor.as<T>()[i] = static_cast<T>(source() % 2);
    }
  });
  return tensor;
}

Result<std::vector<Tensor>> make_rows(const Model& model, std::int64_t rows, bool random) {
  std::mt19937 source(20240501);
  std::vector<Tensor> inputs;
  for (const auto& info : model.inputs()) {
    auto shape = info.shape;
    for (auto& size : shape) size = std::max<std::int64_t>(size, 1);
    shape.front() = rows;
    LATHE_TRY(auto tensor, make_tensor(info.name, info.type, std::move(shape), random, source));
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

/// Whether two values of the same row may be told apart only by rounding, as of a quantized model.
bool close(const Tensor& joined, const Tensor& alone) {
  if (joined.shape != alone.shape || joined.type != alone.type) return false;
  if (!is_floating(joined.type)) return true;  // a label may change with the rounding
  auto left = joined;
  auto right = alone;
  convert_numbers(left, DataType::fp64);
  convert_numbers(right, DataType::fp64);
  const auto* const a = left.as<double>();
  const auto* const b = right.as<double>();
  double largest = 0;
  for (std::size_t i = 0; i < right.count(); ++i)
    if (std::isfinite(b[i])) largest = std::max(largest, std::abs(b[i]));
  const double allowed = 0.05 * largest + 1e-6;
  for (std::size_t i = 0; i < right.count(); ++i)
    if (std::isfinite(a[i]) && std::isfinite(b[i]) && std::abs(a[i] - b[i]) > allowed) return false;
  return true;
}

Result<void> check_outputs(const Model& model, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                           const std::vector<std::size_t>& wanted) {
  constexpr std::size_t kRows = 2;
  const auto batching = std::string("; it cannot be batched: leave out max_batch_size, or set it to 1");
  std::vector<Tensor> alone;
  for (std::size_t row = 0; row < kRows; ++row) {
    std::vector<Tensor> one;
    for (const auto& input : inputs) {
      LATHE_TRY(auto part, cut_rows(input, kRows, row, 1));
      one.push_back(std::move(part));
    }
    LATHE_CHECK(model.run(one, wanted, alone));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const auto part = cut_rows(outputs[i], kRows, row, 1);
      if (!part)
        return fail(Code::invalid, "output \"" + outputs[i].name + "\" of a batch of two rows has the shape " +
                                       print(outputs[i].shape) + ", whose first dimension is not the batch" + batching);
      if (!close(*part, alone[i]))
        return fail(Code::invalid,
                    "output \"" + outputs[i].name + "\" of a row depends on the other rows of its batch" + batching);
    }
  }
  return {};
}

/// Runs a batch of two rows, and each of them alone.
Result<void> check_batching(const Model& model, std::int64_t max_batch_size) {
  if (model.inputs().empty()) return fail(Code::invalid, "the model has no inputs: leave out max_batch_size");
  for (const auto& info : model.inputs()) {
    const bool open =
        !info.shape.empty() && (info.shape.front() < 0 || (info.shape.front() == 1 && max_batch_size == 1));
    if (!open)
      return fail(Code::invalid, "input \"" + info.name + "\" has the shape " + print(info.shape) +
                                     ", whose first dimension cannot be a batch of up to " +
                                     std::to_string(max_batch_size) +
                                     " rows (max_batch_size): export the model with an open first dimension");
  }
  if (max_batch_size < 2) return {};
  std::vector<std::size_t> wanted(model.outputs().size());
  std::iota(wanted.begin(), wanted.end(), std::size_t{0});
  std::vector<Tensor> outputs;
  for (const bool random : {true, false}) {
    LATHE_TRY(const auto inputs, make_rows(model, 2, random));
    const auto ran = model.run(inputs, wanted, outputs);
    if (ran) return check_outputs(model, inputs, outputs, wanted);
    if (!random) return fail(Code::invalid, "the model refuses a batch of two rows: " + ran.error().message);
  }
  return {};
}

Result<void> run_warmup(const Model& model, const Warmup& warmup, bool batched) {
  std::mt19937 source(20240501);
  std::vector<Tensor> inputs;
  for (const auto& [name, input] : warmup.inputs) {
    auto shape = input.dims;
    if (batched) shape.insert(shape.begin(), warmup.batch_size);
    LATHE_TRY(auto tensor, make_tensor(name, data_type_of(input), std::move(shape), input.random_data, source));
    inputs.push_back(std::move(tensor));
  }
  LATHE_CHECK(match_inputs(model, inputs));
  std::vector<std::size_t> wanted(model.outputs().size());
  std::iota(wanted.begin(), wanted.end(), std::size_t{0});
  std::vector<Tensor> outputs;
  for (std::int64_t i = 0; i < std::max<std::int64_t>(warmup.count, 1); ++i)
    LATHE_CHECK(model.run(inputs, wanted, outputs));
  return {};
}

}  // namespace

DataType data_type_of(const WarmupInput& input) {
  if (input.data_type == "TYPE_STRING") return DataType::bytes;
  return parse_data_type(std::string_view(input.data_type).substr(5)).value_or(DataType::fp32);  // checked when read
}

Result<void> warm_up(const Model& model, const ModelConfig& config) {
  if (config.max_batch_size > 0) LATHE_CHECK(check_batching(model, config.max_batch_size));
  for (const auto& warmup : config.model_warmup)
    if (const auto ran = run_warmup(model, warmup, config.max_batch_size > 0); !ran)
      return fail(Code::invalid, "model_warmup \"" + warmup.name + "\": the model refuses it: " + ran.error().message);
  return {};
}

}  // namespace lathe::infer
