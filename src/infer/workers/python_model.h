#pragma once

#include "infer/runtimes/runtime.h"
#include "infer/workers/worker_pool.h"
#include "json/json.h"

namespace lathe::infer {

/// {"name", "datatype", "shape"} as a worker tells them. Errors: `invalid`.
Result<TensorInfo> read_tensor_info(const json::Object& object);

/// A model that workers compute. Its pool ends with it.
class PythonModel : public Model {
 public:
  /// `description`: what a worker said of the model when it was ready.
  PythonModel(std::string_view format, OwnedPool pool, std::string_view description);

  std::string_view platform() const override { return platform_; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }
  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                   std::vector<Tensor>& outputs) const override;
  bool checks_itself() const override { return true; }
  const PythonModel* python() const override { return this; }

  const OwnedPool& workers() const { return pool_; }
  /// What it answers: /score, /invocations, the Open Inference Protocol.
  bool answers(Ask ask) const;
  /// Its function sees the whole request.
  bool wants_head() const { return wants_head_; }

 private:
  std::string platform_;
  OwnedPool pool_;
  bool script_;
  bool wants_head_ = false;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<std::string> columns_;
};

}  // namespace lathe::infer
