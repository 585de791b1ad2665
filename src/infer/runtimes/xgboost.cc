#include <fmt/format.h>
#include <xgboost/c_api.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/log.h"
#include "infer/runtimes/library.h"
#include "infer/runtimes/runtime.h"
#include "infer/runtimes/xgboost_trees.h"
#include "infer/sample_rows.h"

namespace lathe::infer {
namespace {

/// XGBoost's C API, the part we use. Every call gives 0, or -1 with the reason in `get_last_error` (per thread).
struct Api {
  decltype(&XGBGetLastError) get_last_error;
  decltype(&XGBoosterCreate) create;
  decltype(&XGBoosterFree) free;
  decltype(&XGBoosterSetParam) set_param;
  decltype(&XGBoosterLoadModel) load_model;
  decltype(&XGBoosterSaveModelToBuffer) save_to_buffer;
  decltype(&XGBoosterGetNumFeature) num_feature;
  decltype(&XGBoosterGetStrFeatureInfo) feature_info;
  decltype(&XGBoosterPredictFromDense) predict_dense;
  decltype(&XGBoosterPredictFromDMatrix) predict_matrix;
  decltype(&XGDMatrixCreateFromDense) create_matrix;
  decltype(&XGDMatrixFree) free_matrix;

  static Result<Api> open() {
    LATHE_TRY(const auto library, Library::open("libxgboost.so.0",
                                                "XGBoost's library is missing here; install Debian's "
                                                "package libxgboost0 and deploy again"));
    Api api{};
    LATHE_TRY(api.get_last_error, library.function<decltype(&XGBGetLastError)>("XGBGetLastError"));
    LATHE_TRY(api.create, library.function<decltype(&XGBoosterCreate)>("XGBoosterCreate"));
    LATHE_TRY(api.free, library.function<decltype(&XGBoosterFree)>("XGBoosterFree"));
    LATHE_TRY(api.set_param, library.function<decltype(&XGBoosterSetParam)>("XGBoosterSetParam"));
    LATHE_TRY(api.load_model, library.function<decltype(&XGBoosterLoadModel)>("XGBoosterLoadModel"));
    LATHE_TRY(api.save_to_buffer,
              library.function<decltype(&XGBoosterSaveModelToBuffer)>("XGBoosterSaveModelToBuffer"));
    LATHE_TRY(api.num_feature, library.function<decltype(&XGBoosterGetNumFeature)>("XGBoosterGetNumFeature"));
    LATHE_TRY(api.feature_info, library.function<decltype(&XGBoosterGetStrFeatureInfo)>("XGBoosterGetStrFeatureInfo"));
    LATHE_TRY(api.predict_dense, library.function<decltype(&XGBoosterPredictFromDense)>("XGBoosterPredictFromDense"));
    LATHE_TRY(api.predict_matrix,
              library.function<decltype(&XGBoosterPredictFromDMatrix)>("XGBoosterPredictFromDMatrix"));
    LATHE_TRY(api.create_matrix, library.function<decltype(&XGDMatrixCreateFromDense)>("XGDMatrixCreateFromDense"));
    LATHE_TRY(api.free_matrix, library.function<decltype(&XGDMatrixFree)>("XGDMatrixFree"));
    return api;
  }
};

/// Opened once, with the first model.
const Result<Api>& xgboost() {
  static const Result<Api> api = Api::open();
  return api;
}

/// A model inside the library. `predict` is thread-safe after its first call: XGBoost 1.7 configures a learner lazily,
/// on the first prediction after a parameter was set; from then on an in-place prediction only reads it and leaves its
/// result in memory of the calling thread. Linear boosters know no in-place prediction: theirs goes through a matrix,
/// which the library caches, and so under a lock.
class Booster {
 public:
  explicit Booster(const Api& api) : api_(api) {}
  ~Booster() {
    if (handle_ != nullptr) api_.free(handle_);
  }
  Booster(const Booster&) = delete;
  Booster& operator=(const Booster&) = delete;

  Result<void> load(const std::string& file) {
    LATHE_CHECK(check(api_.create(nullptr, 0, &handle_)));
    LATHE_CHECK(check(api_.load_model(handle_, file.c_str())));
    return check(api_.set_param(handle_, "nthread", "1"));
  }

  Result<std::size_t> features() const {
    bst_ulong count = 0;
    LATHE_CHECK(check(api_.num_feature(handle_, &count)));
    return static_cast<std::size_t>(count);
  }

  std::vector<std::string> feature_names() const {
    bst_ulong count = 0;
    const char** names = nullptr;
    if (api_.feature_info(handle_, "feature_name", &count, &names) != 0) return {};
    return {names, names + count};
  }

  Result<std::string> to_json() const {
    bst_ulong size = 0;
    const char* text = nullptr;
    LATHE_CHECK(check(api_.save_to_buffer(handle_, R"({"format":"json"})", &size, &text)));
    return std::string(text, size);
  }

  /// Makes the first prediction, and finds out by it which kind this booster takes. Call once, before `predict`.
  Result<std::pair<Shape, const float*>> first_predict(const float* rows, std::size_t count, std::size_t features) {
    auto result = predict(rows, count, features);
    if (result) return result;
    in_place_ = false;
    return predict(rows, count, features);
  }

  /// `count` must not be 0. Gives the shape of the result and points at it; it is gone with the thread's next call.
  Result<std::pair<Shape, const float*>> predict(const float* rows, std::size_t count, std::size_t features) const {
    const auto values = fmt::format(R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
                                    reinterpret_cast<std::uintptr_t>(rows), count, features);
    static constexpr auto kConfig = R"({"type":0,"training":false,"iteration_begin":0,"iteration_end":0,)"
                                    R"("strict_shape":false,"cache_id":0,"missing":NaN})";
    const bst_ulong* shape = nullptr;
    bst_ulong rank = 0;
    const float* result = nullptr;
    if (in_place_) {
      LATHE_CHECK(check(api_.predict_dense(handle_, values.c_str(), kConfig, nullptr, &shape, &rank, &result)));
    } else {
      const std::lock_guard lock(mutex_);
      DMatrixHandle matrix = nullptr;
      LATHE_CHECK(check(api_.create_matrix(values.c_str(), R"({"missing":NaN,"nthread":1})", &matrix)));
      const auto predicted = check(api_.predict_matrix(handle_, matrix, kConfig, &shape, &rank, &result));
      api_.free_matrix(matrix);
      LATHE_CHECK(predicted);
    }
    return std::pair{Shape(shape, shape + rank), result};
  }

 private:
  Result<void> check(int status) const {
    if (status == 0) return {};
    std::string why = api_.get_last_error();  // with a time, a place, and a stack trace below the first line
    why.resize(std::min(why.find('\n'), why.size()));
    if (const auto place = why.find(".cc:"); place != std::string::npos)
      why.erase(0, std::min(why.find(": ", place) + 2, why.size()));
    return fail(Code::invalid, "XGBoost says: " + why);
  }

  const Api& api_;
  BoosterHandle handle_ = nullptr;
  bool in_place_ = true;
  mutable std::mutex mutex_;
};

class XgboostModel : public Model {
 public:
  Result<void> load(const ModelSource& source) {
    if (!xgboost()) return fail(xgboost().error());
    booster_ = std::make_unique<Booster>(*xgboost());
    LATHE_CHECK(booster_->load(source.file.string()));
    LATHE_TRY(features_, booster_->features());
    if (features_ == 0) return fail(Code::invalid, "the model has no features");
    columns_ = source.feature_names.empty() ? booster_->feature_names() : source.feature_names;
    if (!columns_.empty() && columns_.size() != features_)
      return fail(Code::invalid,
                  fmt::format("{} feature names were given for a model of {} features", columns_.size(), features_));

    constexpr std::size_t kRows = 256;
    const auto rows = sample_rows(kRows, features_, true);
    LATHE_TRY(const auto expected, booster_->first_predict(rows.data(), kRows, features_));
    const auto& shape = expected.first;
    width_ = shape.size() > 1 ? static_cast<std::size_t>(shape[1]) : 1;
    use_trees_if_equal(rows, {expected.second, kRows * width_});

    inputs_ = {{"input", DataType::fp32, {-1, static_cast<std::int64_t>(features_)}}};
    outputs_ = {{"predict", DataType::fp32, {-1}}};
    if (shape.size() > 1) outputs_[0].shape.push_back(static_cast<std::int64_t>(width_));
    return {};
  }

  std::string_view platform() const override { return "xgboost"; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }

  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                   std::vector<Tensor>& outputs) const override {
    const auto& input = inputs.front();
    const auto count = static_cast<std::size_t>(input.shape[0]);
    outputs.resize(wanted.size());
    for (auto& output : outputs) {
      output.name = outputs_[0].name;
      output.type = DataType::fp32;
      output.shape = outputs_[0].shape;
      output.shape[0] = input.shape[0];
      output.data.resize(count * width_ * sizeof(float));
      if (count > 0) LATHE_CHECK(predict(input.as<float>(), count, output.as<float>()));
    }
    return {};
  }

 private:
  Result<void> predict(const float* rows, std::size_t count, float* out) const {
    if (trees_) {
      trees_->predict(rows, count, out);
      return {};
    }
    LATHE_TRY(const auto result, booster_->predict(rows, count, features_));
    std::copy_n(result.second, count * width_, out);
    return {};
  }

  /// Own evaluation is taken only where it gives what the library gives; then the library's copy is let go.
  void use_trees_if_equal(std::span<const float> rows, std::span<const float> expected) {
    auto json = booster_->to_json();
    auto trees = json ? XgboostTrees::from_json(*json) : fail(json.error());
    if (!trees) return log::info("the library evaluates this XGBoost model reason=\"{}\"", trees.error().message);
    if (trees->features() != features_ || trees->width() != width_)
      return log::warn("the library evaluates this XGBoost model reason=\"its shape differs\"");
    std::vector<float> got(expected.size());
    trees->predict(rows.data(), rows.size() / features_, got.data());
    for (std::size_t i = 0; i < got.size(); ++i)
      if (!(std::abs(got[i] - expected[i]) <= 1e-6F * std::max(1.0F, std::abs(expected[i]))))
        return log::warn("the library evaluates this XGBoost model reason=\"{} differs from {}\"", got[i], expected[i]);
    trees_ = std::make_unique<XgboostTrees>(std::move(*trees));
    booster_.reset();
  }

  std::unique_ptr<Booster> booster_;
  std::unique_ptr<XgboostTrees> trees_;
  std::size_t features_ = 0;
  std::size_t width_ = 1;
  std::vector<std::string> columns_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

Result<std::unique_ptr<Model>> load_xgboost(const ModelSource& source) {
  auto model = std::make_unique<XgboostModel>();
  LATHE_CHECK(model->load(source));
  return model;
}

}  // namespace lathe::infer
