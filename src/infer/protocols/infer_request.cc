#include "infer/protocols/infer_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/text.h"
#include "infer/protocols/tensor_json.h"

namespace lathe::infer {
namespace {

std::size_t index_of(const std::vector<TensorInfo>& infos, std::string_view name) {
  return static_cast<std::size_t>(
      std::find_if(infos.begin(), infos.end(), [&](const auto& info) { return info.name == name; }) - infos.begin());
}

/// Texts in the binary section: each after its length in four bytes, little-endian.
Result<void> split_texts(std::string_view bytes, std::size_t count, Tensor& tensor, const std::string& where) {
  tensor.texts.clear();
  while (!bytes.empty()) {
    std::uint32_t size = 0;
    if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
    if (bytes.size() < sizeof size || size > bytes.size() - sizeof size)
      return fail(Code::invalid, where + "a text reaches past the tensor's bytes");
    tensor.texts.emplace_back(bytes.substr(sizeof size, size));
    bytes.remove_prefix(sizeof size + size);
  }
  if (tensor.texts.size() != count)
    return fail(Code::invalid, where + "expected " + std::to_string(count) + " texts for shape " + print(tensor.shape) +
                                   ", got " + std::to_string(tensor.texts.size()));
  return {};
}

/// "value:index" of the `most` greatest of `values`, which begin at `from`; NaN comes last.
template <class T, class Value>
void append_classes(const T* values, std::size_t count, std::size_t most, Value value_of,
                    std::vector<std::string>& out) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto greater = [&](std::size_t a, std::size_t b) {
    const auto left = value_of(values[a]);
    const auto right = value_of(values[b]);
    if constexpr (std::is_floating_point_v<decltype(left)>) {
      if (std::isnan(left) || std::isnan(right)) return !std::isnan(left) && std::isnan(right);
    }
    return left > right;
  };
  std::stable_sort(order.begin(), order.end(), greater);
  for (std::size_t i = 0; i < most; ++i) out.push_back(fmt::format("{}:{}", value_of(values[order[i]]), order[i]));
}

}  // namespace

Result<WantedOutput*> add_output(std::vector<WantedOutput>& named, std::string_view name, const Model& model) {
  if (model.checks_itself()) {
    if (std::any_of(named.begin(), named.end(), [&](const auto& one) { return one.name == name; }))
      return fail(Code::invalid, "output \"" + std::string(name) + "\" is asked for twice");
    named.push_back({0, std::nullopt, 0, std::string(name), {}});
    return &named.back();
  }
  const auto place = index_of(model.outputs(), name);
  if (place == model.outputs().size())
    return fail(Code::invalid, "output \"" + std::string(name) + "\": the model has no such output; it has " +
                                   names_of(model.outputs()));
  if (std::any_of(named.begin(), named.end(), [&](const auto& one) { return one.index == place; }))
    return fail(Code::invalid, "output \"" + std::string(name) + "\" is asked for twice");
  named.push_back({place, std::nullopt, 0, {}, {}});
  return &named.back();
}

void choose_outputs(const std::vector<WantedOutput>& named, const Model& model, bool all_binary, InferRequest& out) {
  out.wanted.clear();
  out.binary.clear();
  out.classes.clear();
  out.regions.clear();
  if (model.checks_itself()) {
    out.named = named;
    out.all_binary = all_binary;
    return;
  }
  for (const auto& each : named) {
    out.wanted.push_back(each.index);
    out.binary.push_back(each.binary.value_or(all_binary));
    out.classes.push_back(each.classes);
    out.regions.push_back(each.region);
  }
  for (std::size_t i = 0; named.empty() && i < model.outputs().size(); ++i) {
    out.wanted.push_back(i);
    out.binary.push_back(all_binary);
    out.classes.push_back(0);
    out.regions.emplace_back();
  }
}

Result<void> keep_wanted(InferRequest& request, std::vector<Tensor>& outputs) {
  if (request.named.empty()) {
    request.binary.assign(outputs.size(), request.all_binary);
    request.classes.assign(outputs.size(), 0);
    request.regions.assign(outputs.size(), std::nullopt);
    return {};
  }
  std::vector<Tensor> kept;
  for (const auto& each : request.named) {
    const auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const auto& one) { return one.name == each.name; });
    if (found == outputs.end()) {
      std::string names;
      for (const auto& one : outputs) names += (names.empty() ? "\"" : ", \"") + printable(one.name) + "\"";
      return fail(Code::invalid,
                  "output \"" + printable(each.name) + "\": the model has answered no such output, but " + names);
    }
    kept.push_back(std::move(*found));
    request.binary.push_back(each.binary.value_or(request.all_binary));
    request.classes.push_back(each.classes);
    request.regions.push_back(each.region);
  }
  outputs = std::move(kept);
  return {};
}

std::string names_of(const std::vector<TensorInfo>& infos) {
  std::string out;
  for (const auto& info : infos) out += (out.empty() ? "\"" : ", \"") + info.name + "\"";
  return out;
}

namespace {

/// Inputs that are the columns of a table, each of shape [n] or [n, 1], as the one matrix that the model takes.
Result<void> join_columns(const Model& model, std::vector<Tensor>& inputs) {
  const auto& names = model.columns();
  for (const auto& input : inputs)
    if (std::find(names.begin(), names.end(), input.name) == names.end())
      return fail(Code::invalid, "input \"" + input.name + "\": the model has no such column; expected one input (" +
                                     names_of(model.inputs()) + "), or one for each of its columns");
  const auto rows = inputs[0].shape.empty() ? 0 : inputs[0].shape[0];
  const auto width = static_cast<std::int64_t>(names.size());
  Tensor matrix{model.inputs()[0].name, DataType::fp64, {rows, width}, {}, {}};
  matrix.data.resize(static_cast<std::size_t>(rows * width) * sizeof(double));
  for (std::int64_t i = 0; i < width; ++i) {
    const auto& name = names[static_cast<std::size_t>(i)];
    const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const Tensor& one) { return one.name == name; });
    if (found == inputs.end())
      return fail(Code::invalid, "input \"" + name + "\" is missing: the model has it as a column");
    if (found->shape.size() == 2 && found->shape[1] == 1) found->shape.pop_back();
    LATHE_CHECK(fit(*found, {name, DataType::fp64, {rows}}, true));
    for (std::int64_t row = 0; row < rows; ++row) matrix.as<double>()[row * width + i] = found->as<double>()[row];
  }
  inputs.clear();
  inputs.push_back(std::move(matrix));
  return {};
}

}  // namespace

Result<void> match_inputs(const Model& model, std::vector<Tensor>& inputs) {
  if (model.checks_itself()) return {};
  const auto& wanted = model.inputs();
  if (inputs.size() > 1 && wanted.size() == 1 && inputs.size() == model.columns().size())
    LATHE_CHECK(join_columns(model, inputs));
  if (inputs.size() != wanted.size())
    return fail(Code::invalid, "expected " + std::to_string(wanted.size()) + " inputs (" + names_of(wanted) +
                                   "), got " + std::to_string(inputs.size()));
  const bool any_name = wanted.size() == 1 && model.converts_numbers();
  for (std::size_t i = 0; i < inputs.size() && !any_name;) {
    const auto place = index_of(wanted, inputs[i].name);
    if (place == wanted.size())
      return fail(Code::invalid,
                  "input \"" + inputs[i].name + "\": the model has no such input; expected " + names_of(wanted));
    if (place == i) {
      ++i;
    } else {
      if (inputs[place].name == inputs[i].name)
        return fail(Code::invalid, "input \"" + inputs[i].name + "\" is given twice");
      std::swap(inputs[place], inputs[i]);
    }
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) LATHE_CHECK(fit(inputs[i], wanted[i], model.converts_numbers()));
  return {};
}

std::size_t rows_of(const std::vector<Tensor>& inputs) {
  const bool batch = !inputs.empty() && !inputs.front().shape.empty();
  return batch ? static_cast<std::size_t>(inputs.front().shape.front()) : 1;
}

std::chrono::microseconds to_timeout(std::uint64_t microseconds) {
  constexpr std::chrono::microseconds kMost = std::chrono::hours(24);
  return std::min(std::chrono::microseconds(std::min<std::uint64_t>(microseconds, kMost.count())), kMost);
}

bool is_order(std::string_view parameter) {
  static constexpr std::array<std::string_view, 9> kOrders{"binary_data_output",
                                                           "priority",
                                                           "timeout",
                                                           "sequence_id",
                                                           "sequence_start",
                                                           "sequence_end",
                                                           "headers",
                                                           "content_type",
                                                           "triton_enable_empty_final_response"};
  return std::find(kOrders.begin(), kOrders.end(), parameter) != kOrders.end();
}

Result<void> take_bytes(Tensor& tensor, std::string_view bytes, const std::string& where) {
  LATHE_TRY(const auto count, element_count(tensor.shape, std::max<std::size_t>(bytes.size(), 1)));
  if (tensor.type == DataType::bytes) return split_texts(bytes, count, tensor, where);
  if (count * size_of(tensor.type) != bytes.size())
    return fail(Code::invalid, where + "expected " + std::to_string(count * size_of(tensor.type)) +
                                   " bytes for shape " + print(tensor.shape) + " of " +
                                   std::string(name_of(tensor.type)) + ", got " + std::to_string(bytes.size()));
  tensor.data.assign(bytes.begin(), bytes.end());
  if (tensor.type == DataType::boolean)
    for (auto& truth : tensor.data) truth = truth != 0 ? 1 : 0;
  return {};
}

Result<void> take_region(Tensor& tensor, const RegionPlace& place, const std::string& where) {
  const auto region = shared_regions().find(place.region);
  // What does not fit is said by `read`; until then no memory is taken for it.
  const auto size = region && place.size <= region->size ? place.size : 0;
  if (tensor.type == DataType::bytes) {
    std::string bytes(size, '\0');
    if (const auto read = shared_regions().read(place, bytes.data()); !read)
      return fail(Code::invalid, where + read.error().message);
    return take_bytes(tensor, bytes, where);
  }
  LATHE_TRY(const auto count, element_count(tensor.shape, std::max<std::size_t>(place.size, 1)));
  if (count * size_of(tensor.type) != place.size)
    return fail(Code::invalid, where + "expected " + std::to_string(count * size_of(tensor.type)) +
                                   " bytes for shape " + print(tensor.shape) + " of " +
                                   std::string(name_of(tensor.type)) + ", but shared_memory_byte_size is " +
                                   std::to_string(place.size));
  tensor.texts.clear();
  tensor.data.resize(size);
  if (const auto read = shared_regions().read(place, tensor.data.data()); !read)
    return fail(Code::invalid, where + read.error().message);
  if (tensor.type == DataType::boolean)
    for (auto& truth : tensor.data) truth = truth != 0 ? 1 : 0;
  return {};
}

Result<void> leave_in_regions(const InferRequest& request, const std::vector<Tensor>& outputs) {
  for (std::size_t i = 0; i < request.regions.size(); ++i) {
    if (!request.regions[i]) continue;
    const auto& place = *request.regions[i];
    const auto& tensor = outputs[i];
    const auto where = "output \"" + printable(tensor.name) + "\": ";
    const auto size = bytes_of(tensor);
    std::string texts;
    if (tensor.type == DataType::bytes) append_bytes(texts, tensor);
    const auto bytes =
        tensor.type == DataType::bytes ? std::string_view(texts) : std::string_view(tensor.data.data(), size);
    if (const auto left = shared_regions().write(place, bytes); !left)
      return fail(Code::invalid, where + left.error().message);
  }
  return {};
}

void append_bytes(std::string& out, const Tensor& tensor) {
  if (tensor.type != DataType::bytes) {
    out.append(tensor.data.data(), tensor.data.size());
    return;
  }
  for (const auto& text : tensor.texts) {
    const auto size = static_cast<std::uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&size), sizeof size);
    out += text;
  }
}

std::size_t bytes_of(const Tensor& tensor) {
  if (tensor.type != DataType::bytes) return tensor.data.size();
  std::size_t size = 0;
  for (const auto& text : tensor.texts) size += sizeof(std::uint32_t) + text.size();
  return size;
}

Result<Tensor> classify(const Tensor& tensor, std::size_t most) {
  if (tensor.type == DataType::bytes)
    return fail(Code::invalid, "output \"" + tensor.name + "\": texts cannot be classified");
  const auto rows = tensor.shape.size() < 2 ? std::size_t{1} : static_cast<std::size_t>(tensor.shape.front());
  const auto width = rows == 0 ? 0 : tensor.count() / rows;
  most = std::min(most, width);
  Tensor out{tensor.name, DataType::bytes, {static_cast<std::int64_t>(most)}, {}, {}};
  if (tensor.shape.size() >= 2) out.shape.insert(out.shape.begin(), tensor.shape.front());
  with_element_type(tensor.type, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t row = 0; row < rows; ++row) {
      const auto* const values = tensor.as<T>() + row * width;
      if constexpr (std::is_same_v<T, std::uint16_t>) {
        if (tensor.type == DataType::fp16)
          append_classes(values, width, most, half_to_float, out.texts);
        else if (tensor.type == DataType::bf16)
          append_classes(values, width, most, bfloat_to_float, out.texts);
        else
          append_classes(
              values, width, most, [](T value) { return int{value}; }, out.texts);
      } else if constexpr (sizeof(T) == 1) {
        append_classes(
            values, width, most, [](T value) { return int{value}; }, out.texts);
      } else {
        append_classes(
            values, width, most, [](T value) { return value; }, out.texts);
      }
    }
  });
  return out;
}

}  // namespace lathe::infer
