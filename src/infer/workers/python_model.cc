#include "infer/workers/python_model.h"

#include "base/log.h"

namespace lathe::infer {
namespace {

/// [{"name", "datatype", "shape"}, ...] as the Open Inference Protocol's metadata has them.
Result<std::vector<TensorInfo>> read_tensors(const json::Object& description, std::string_view key) {
  std::vector<TensorInfo> out;
  LATHE_TRY(const auto* const list, json::get_array(description, key));
  if (list == nullptr) return out;
  for (const auto& item : *list) {
    if (!item.is_object()) return fail(Code::invalid, std::string(key) + " must hold objects");
    LATHE_TRY(auto info, read_tensor_info(item.get_object()));
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace

Result<TensorInfo> read_tensor_info(const json::Object& object) {
  TensorInfo info;
  LATHE_TRY(info.name, json::need_string(object, "name"));
  LATHE_TRY(const auto datatype, json::need_string(object, "datatype"));
  const auto type = parse_data_type(datatype);
  if (!type) return fail(Code::invalid, "there is no datatype " + datatype);
  info.type = *type;
  LATHE_TRY(const auto* const shape, json::get_array(object, "shape"));
  if (shape != nullptr)
    for (const auto& size : *shape) info.shape.push_back(size.is_int64() ? size.get_int64() : -1);
  return info;
}

PythonModel::PythonModel(std::string_view format, OwnedPool pool, std::string_view description)
    : platform_("python_" + std::string(format)), pool_(std::move(pool)), script_(format == "script") {
  const auto told = json::parse_object(description);
  if (!told) return;
  auto inputs = read_tensors(*told, "inputs");
  auto outputs = read_tensors(*told, "outputs");
  if (!inputs || !outputs) {
    log::warn("a worker's description of its model cannot be read");
    return;
  }
  wants_head_ = json::get_bool(*told, "wants_head").value_or(false).value_or(false);
  inputs_ = std::move(*inputs);
  outputs_ = std::move(*outputs);
}

bool PythonModel::answers(Ask ask) const {
  if (ask == Ask::score) return true;
  return !script_;
}

Result<void> PythonModel::run(std::span<const Tensor>, std::span<const std::size_t>, std::vector<Tensor>&) const {
  return fail(Code::invalid, "a model that is Python is asked through its workers alone");
}

}  // namespace lathe::infer
