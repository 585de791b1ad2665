#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "infer/runtimes/onnx_api.h"
#include "infer/runtimes/runtime.h"

namespace lathe::infer {
namespace {

using namespace onnx;

struct TypePair {
  DataType ours;
  int theirs;
};

constexpr TypePair kTypePairs[] = {
    {DataType::boolean, kBool},  {DataType::uint8, kUint8},  {DataType::uint16, kUint16}, {DataType::uint32, kUint32},
    {DataType::uint64, kUint64}, {DataType::int8, kInt8},    {DataType::int16, kInt16},   {DataType::int32, kInt32},
    {DataType::int64, kInt64},   {DataType::fp16, kFloat16}, {DataType::fp32, kFloat},    {DataType::fp64, kDouble},
    {DataType::bf16, kBfloat16}, {DataType::bytes, kString},
};

int to_theirs(DataType type) {
  return std::find_if(std::begin(kTypePairs), std::end(kTypePairs), [&](auto& pair) { return pair.ours == type; })
      ->theirs;
}

Result<DataType> to_ours(int type) {
  for (const auto& pair : kTypePairs)
    if (pair.theirs == type) return pair.ours;
  return fail(Code::invalid, "its element type " + std::to_string(type) + " is not one of the protocol's");
}

/// The type and shape of a tensor. A null `info` means that it is none.
Result<TensorInfo> read_info(const Api& api, const TensorTypeInfo* info) {
  if (info == nullptr) return fail(Code::invalid, "it is not a tensor");
  int type = 0;
  std::size_t rank = 0;
  LATHE_CHECK(api.check(api.element_type(info, &type)));
  LATHE_CHECK(api.check(api.rank(info, &rank)));
  TensorInfo out;
  LATHE_TRY(out.type, to_ours(type));
  out.shape.resize(rank);
  LATHE_CHECK(api.check(api.dimensions(info, out.shape.data(), rank)));
  return out;
}

Result<SessionOptionsPtr> make_options(bool cuda) {
  const auto& api = runtime()->api;
  SessionOptions* made = nullptr;
  LATHE_CHECK(api.check(api.create_session_options(&made)));
  SessionOptionsPtr options(made);
  constexpr int kAllOptimizations = 99;
  constexpr int kErrors = 3;
  // One thread a request: callers run in parallel instead, and a spinning pool burns cores that others need.
  LATHE_CHECK(api.check(api.set_intra_op_threads(made, 1)));
  LATHE_CHECK(api.check(api.set_inter_op_threads(made, 1)));
  LATHE_CHECK(api.check(api.add_config_entry(made, "session.intra_op.allow_spinning", "0")));
  LATHE_CHECK(api.check(api.set_optimization_level(made, kAllOptimizations)));
  LATHE_CHECK(api.check(api.set_log_severity(made, kErrors)));
  constexpr int kFirstDevice = 0;  // of those that CUDA_VISIBLE_DEVICES leaves
  if (cuda) LATHE_CHECK(api.check(runtime()->use_cuda(made, kFirstDevice)));
  return options;
}

Result<SessionPtr> open_session(const ModelSource& source, bool cuda) {
  const auto& api = runtime()->api;
  LATHE_TRY(const auto options, make_options(cuda));
  Session* session = nullptr;
  LATHE_CHECK(api.check(api.create_session(runtime()->env, source.file.c_str(), options.get(), &session)));
  return SessionPtr(session);
}

/// Whether the library can compute on a GPU. Looked at once; said in the log where there is a GPU.
bool cuda_works() {
  static const bool works = [] {
    if (runtime()->use_cuda == nullptr) return false;
    const auto made = make_options(true);
    std::error_code error;
    if (made)
      log::info("ONNX models are computed by CUDA");
    else if (std::filesystem::exists("/dev/nvidiactl", error))
      log::info("ONNX models are computed by the CPU, though there is a GPU why=\"{}\"", made.error().message);
    return made.has_value();
  }();
  return works;
}

class OnnxModel : public Model {
 public:
  Result<void> load(const ModelSource& source) {
    if (!runtime()) return fail(runtime().error());
    // What fails with a GPU (its memory is full, its driver is too old) may do without.
    if (auto found = cuda_works() ? open_session(source, true) : fail(Code::unavailable, ""); found) {
      session_ = std::move(*found);
    } else {
      if (cuda_works())
        log::warn("a model is computed without the GPU file={} why=\"{}\"", source.file.string(),
                  found.error().message);
      LATHE_TRY(session_, open_session(source, false));
    }
    LATHE_CHECK(read_signature(runtime()->api));
    columns_ = source.feature_names;
    return {};
  }

  std::string_view platform() const override { return "onnxruntime_onnx"; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return false; }

  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                   std::vector<Tensor>& outputs) const override {
    const auto& api = runtime()->api;
    std::vector<ValuePtr> values;
    std::vector<const Value*> given;
    std::vector<const char*> input_names;
    std::vector<const char*> output_names;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      LATHE_TRY(auto value, make_value(api, inputs[i]));
      given.push_back(value.get());
      values.push_back(std::move(value));
      input_names.push_back(inputs_[i].name.c_str());
    }
    for (const auto i : wanted) output_names.push_back(outputs_[i].name.c_str());

    std::vector<Value*> results(wanted.size(), nullptr);
    const auto ran = api.check(api.run(session_.get(), nullptr, input_names.data(), given.data(), given.size(),
                                       output_names.data(), output_names.size(), results.data()));
    std::vector<ValuePtr> owned(results.begin(), results.end());
    LATHE_CHECK(ran);
    outputs.resize(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      outputs[i].name = outputs_[wanted[i]].name;
      LATHE_CHECK(read_value(api, owned[i].get(), outputs[i]));
    }
    return {};
  }

 private:
  using Count = decltype(Api::input_count);
  using Name = decltype(Api::input_name);
  using Type = decltype(Api::input_type);

  Result<void> read_signature(const Api& api) {
    std::size_t count = 0;
    LATHE_CHECK(api.check(api.input_count(session_.get(), &count)));
    for (std::size_t i = 0; i < count; ++i) {
      LATHE_TRY(auto info, read_one(api, api.input_name, api.input_type, i));
      if (!info) return fail(Code::invalid, "input " + std::to_string(i) + " of the model is not a tensor");
      inputs_.push_back(std::move(*info));
    }
    LATHE_CHECK(api.check(api.output_count(session_.get(), &count)));
    for (std::size_t i = 0; i < count; ++i) {
      LATHE_TRY(auto info, read_one(api, api.output_name, api.output_type, i));
      if (info) outputs_.push_back(std::move(*info));  // a sequence or a map cannot be said in the protocol
    }
    if (outputs_.empty()) return fail(Code::invalid, "no output of the model is a tensor; convert it without ZipMap");
    return {};
  }

  /// Empty when it is not a tensor.
  Result<std::optional<TensorInfo>> read_one(const Api& api, Name name_of_one, Type type_of_one, std::size_t i) const {
    TypeInfo* type = nullptr;
    LATHE_CHECK(api.check(type_of_one(session_.get(), i, &type)));
    const TypeInfoPtr owned(type);
    const TensorTypeInfo* tensor = nullptr;
    LATHE_CHECK(api.check(api.tensor_info_of_type(type, &tensor)));
    if (tensor == nullptr) return std::optional<TensorInfo>{};
    LATHE_TRY(auto info, read_info(api, tensor));
    char* name = nullptr;
    LATHE_CHECK(api.check(name_of_one(session_.get(), i, runtime()->allocator, &name)));
    info.name = name;
    LATHE_CHECK(api.check(api.allocator_free(runtime()->allocator, name)));
    for (auto& size : info.shape) size = std::max<std::int64_t>(size, -1);
    return std::optional(std::move(info));
  }

  static Result<ValuePtr> make_value(const Api& api, const Tensor& tensor) {
    Value* value = nullptr;
    if (tensor.type == DataType::bytes) {
      LATHE_CHECK(api.check(
          api.create_tensor(runtime()->allocator, tensor.shape.data(), tensor.shape.size(), kString, &value)));
      ValuePtr owned(value);
      std::vector<const char*> texts;
      for (const auto& text : tensor.texts) {
        if (text.find('\0') != std::string::npos)
          return fail(Code::invalid, "input \"" + tensor.name + "\": ONNX Runtime takes no texts with a NUL in them");
        texts.push_back(text.c_str());
      }
      LATHE_CHECK(api.check(api.fill_strings(value, texts.data(), texts.size())));
      return owned;
    }
    LATHE_CHECK(api.check(api.create_tensor_with_data(runtime()->cpu, const_cast<char*>(tensor.data.data()),
                                                      tensor.data.size(), tensor.shape.data(), tensor.shape.size(),
                                                      to_theirs(tensor.type), &value)));
    return ValuePtr(value);
  }

  static Result<void> read_value(const Api& api, Value* value, Tensor& out) {
    TensorTypeInfo* type = nullptr;
    LATHE_CHECK(api.check(api.tensor_info_of_value(value, &type)));
    const TensorTypeInfoPtr owned(type);
    LATHE_TRY(auto info, read_info(api, type));
    out.type = info.type;
    out.shape = std::move(info.shape);
    LATHE_TRY(const auto count, element_count(out.shape, std::numeric_limits<std::size_t>::max() / 16));
    if (out.type == DataType::bytes) return read_texts(api, value, count, out);
    void* data = nullptr;
    LATHE_CHECK(api.check(api.tensor_data(value, &data)));
    const auto* bytes = static_cast<const char*>(data);
    out.data.assign(bytes, bytes + count * size_of(out.type));
    return {};
  }

  static Result<void> read_texts(const Api& api, const Value* value, std::size_t count, Tensor& out) {
    std::size_t length = 0;
    LATHE_CHECK(api.check(api.strings_length(value, &length)));
    std::string all(length, '\0');
    std::vector<std::size_t> offsets(count);
    LATHE_CHECK(api.check(api.strings_content(value, all.data(), length, offsets.data(), count)));
    offsets.push_back(length);
    out.texts.clear();
    for (std::size_t i = 0; i < count; ++i) out.texts.push_back(all.substr(offsets[i], offsets[i + 1] - offsets[i]));
    return {};
  }

  SessionPtr session_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<std::string> columns_;
};

}  // namespace

Result<std::unique_ptr<Model>> load_onnx(const ModelSource& source) {
  auto model = std::make_unique<OnnxModel>();
  LATHE_CHECK(model->load(source));
  return model;
}

}  // namespace lathe::infer
