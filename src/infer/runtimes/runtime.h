#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "infer/runtimes/tensor.h"

namespace lathe::infer {

class PythonModel;
class SleepingModel;

/// A loaded model. Thread-safe: any number of threads may run it at once.
class Model {
 public:
  virtual ~Model() = default;

  /// "xgboost", "onnxruntime_onnx", "lathe_native", "python_script", "python_pyfunc" or "python_torchscript": the
  /// platform of the model's metadata.
  virtual std::string_view platform() const = 0;
  virtual const std::vector<TensorInfo>& inputs() const = 0;
  virtual const std::vector<TensorInfo>& outputs() const = 0;
  /// The columns of the one matrix that it takes, in their order; empty when the model does not name them.
  virtual const std::vector<std::string>& columns() const = 0;
  /// Whether it takes numbers of any type, and its one input under any name.
  virtual bool converts_numbers() const = 0;

  /// `inputs` are in the order of `inputs()`, with fitting types and shapes. Gives the outputs whose indexes are
  /// `wanted`, in that order. Errors: `invalid` — the model refuses these values.
  virtual Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                           std::vector<Tensor>& outputs) const = 0;

  /// Whether it checks names, types and shapes by itself, and gives the outputs names only when it answers.
  virtual bool checks_itself() const { return false; }
  /// One that workers compute is asked by `WorkerPool::ask`, never by `run`. Null for all others.
  virtual const PythonModel* python() const { return nullptr; }
  /// One that may leave memory is held, or woken, for each request. Null for all others.
  virtual const SleepingModel* sleeper() const { return nullptr; }
};

struct ModelSource {
  std::filesystem::path file;
  std::vector<std::string> feature_names;  ///< may be empty
};

/// Errors: `invalid` — not a model that can be read; `unavailable` — the library that reads it is missing.
Result<std::unique_ptr<Model>> load_xgboost(const ModelSource& source);
Result<std::unique_ptr<Model>> load_onnx(const ModelSource& source);
Result<std::unique_ptr<Model>> load_native(const ModelSource& source);

}  // namespace lathe::infer
