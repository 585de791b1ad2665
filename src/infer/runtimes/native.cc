// Models in the native form: a JSON file that says what is done to a row of numbers, and what is given of the result.
//
//     {"format": "lathe.native", "version": 1, "features": 4, "columns": ["a", ...], "steps": [...],
//      "outputs": [{"name": "predict", "take": "greatest", "labels": ["no", "yes"]},
//                  {"name": "predict_proba", "take": "row"}],
//      "check": {"rows": [[...], ...], "answers": {"predict": [...], "predict_proba": [[...], ...]}}}
//
// An output takes the whole row, its first number, or the label of the greatest or least; it may have `steps` of its
// own, which begin with the row that the model's leave. `columns` and `check` may be left out.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <optional>

#include "infer/runtimes/native_steps.h"
#include "infer/runtimes/runtime.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kBlockRows = 64;  ///< rows that go through the steps together, while they are in the cache
constexpr double kTolerance = 1e-5;     ///< of answers, beside the original's
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMostFeatures = 1 << 20;

/// What is given of the row that the last step leaves.
struct Output {
  enum class Take : std::uint8_t { row, first, greatest, least };
  Take take = Take::row;
  std::optional<Steps> own;
  DataType type = DataType::fp64;
  std::size_t width = 1;
  /// For `greatest` and `least`: what the place of that number stands for, as many as there are columns.
  std::vector<std::int64_t> whole;
  std::vector<double> real;
  std::vector<std::string> texts;

  std::size_t labels() const { return std::max({whole.size(), real.size(), texts.size()}); }
};

Result<void> read_labels(element output, Output& out) {
  LATHE_TRY(const auto labels, list(output, "/labels"));
  const auto all = [&](auto is) { return std::all_of(labels.begin(), labels.end(), is); };
  if (all([](element label) { return label.is_string(); })) {
    out.type = DataType::bytes;
    for (const element label : labels) out.texts.emplace_back(label.get_string().value_unsafe());
    return {};
  }
  const bool booleans = all([](element label) { return label.is_bool(); });
  if (booleans || all([](element label) { return label.is_int64(); })) {
    out.type = booleans ? DataType::boolean : DataType::int64;
    LATHE_TRY(out.whole, numbers<std::int64_t>(output, "/labels"));
    return {};
  }
  LATHE_TRY(out.real, numbers<double>(output, "/labels"));
  return {};
}

Result<Output> read_output(element output, std::size_t width) {
  Output out;
  if (has(output, "/steps")) {
    LATHE_TRY(const auto steps, list(output, "/steps"));
    LATHE_TRY(out.own, Steps::from_json(steps, width));
    width = out.own->width();
  }
  LATHE_TRY(const auto take, text(output, "/take"));
  if (take == "row") {
    out.width = width;
  } else if (take == "first") {
    out.take = Output::Take::first;
  } else if (take == "greatest" || take == "least") {
    out.take = take == "least" ? Output::Take::least : Output::Take::greatest;
    LATHE_CHECK(read_labels(output, out));
    if (out.labels() != width)
      return fail(Code::invalid, "an output has " + std::to_string(out.labels()) + " labels for " +
                                     std::to_string(width) + " columns");
  } else {
    return fail(Code::invalid, "an output takes \"" + std::string(take) + "\", which this version does not know");
  }
  return out;
}

class NativeModel : public Model {
 public:
  Result<void> load(const ModelSource& source) {
    std::ifstream in(source.file, std::ios::binary);
    const std::string json{std::istreambuf_iterator<char>(in), {}};
    if (!in) return fail(Code::invalid, "the model's file cannot be read");
    simdjson::dom::parser parser;
    element model;
    if (parser.parse(json).get(model) != simdjson::SUCCESS) return fail(Code::invalid, "the model is not JSON");
    LATHE_TRY(const auto format, text(model, "/format"));
    std::int64_t version = 0, features = 0;
    if (format != "lathe.native" || model["version"].get(version) != simdjson::SUCCESS)
      return fail(Code::invalid, "the model is not in Lathe's native form");
    if (version != kVersion)
      return fail(Code::invalid, "the model is in version " + std::to_string(version) +
                                     " of the native form, and this "
                                     "program reads version 1: use the Lathe that made it, or a newer one");
    if (model["features"].get(features) != simdjson::SUCCESS || features < 1 || features > kMostFeatures)
      return fail(Code::invalid, "the model has no features");
    LATHE_TRY(const auto steps, list(model, "/steps"));
    LATHE_TRY(steps_, Steps::from_json(steps, static_cast<std::size_t>(features)));
    inputs_ = {{"input", DataType::fp64, {-1, features}}};
    LATHE_CHECK(read_columns(model, source));
    LATHE_CHECK(read_outputs(model));
    return has(model, "/check") ? check(model) : Result<void>{};
  }

  std::string_view platform() const override { return "lathe_native"; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }

  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                   std::vector<Tensor>& outputs) const override {
    const auto& input = inputs.front();
    const auto features = static_cast<std::size_t>(inputs_[0].shape[1]);
    const auto count = static_cast<std::size_t>(input.shape[0]);
    outputs.resize(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto& info = outputs_[wanted[i]];
      outputs[i] = {info.name, info.type, info.shape, {}, {}};
      outputs[i].shape[0] = input.shape[0];
      if (info.type != DataType::bytes) outputs[i].data.resize(count * kinds_[wanted[i]].width * size_of(info.type));
    }
    for (std::size_t done = 0; done < count; done += kBlockRows) {
      Block block{std::min(kBlockRows, count - done), features, {}};
      const auto* values = input.as<double>() + done * features;
      block.values.assign(values, values + block.rows * features);
      LATHE_CHECK(steps_.apply(block));
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const auto& kind = kinds_[wanted[i]];
        if (!kind.own) {
          give(block, kind, done, outputs[i]);
          continue;
        }
        auto further = block;
        LATHE_CHECK(kind.own->apply(further));
        give(further, kind, done, outputs[i]);
      }
    }
    return {};
  }

 private:
  Result<void> read_columns(element model, const ModelSource& source) {
    columns_ = source.feature_names;
    if (columns_.empty() && has(model, "/columns")) {
      LATHE_TRY(const auto names, list(model, "/columns"));
      for (const element name : names) {
        std::string_view column;
        if (name.get(column) != simdjson::SUCCESS) return fail(Code::invalid, "the model's columns are not texts");
        columns_.emplace_back(column);
      }
    }
    const auto features = static_cast<std::size_t>(inputs_[0].shape[1]);
    if (columns_.empty() || columns_.size() == features) return {};
    return fail(Code::invalid, std::to_string(columns_.size()) + " feature names were given for a model of " +
                                   std::to_string(features) + " features");
  }

  Result<void> read_outputs(element model) {
    LATHE_TRY(const auto outputs, list(model, "/outputs"));
    for (const element output : outputs) {
      LATHE_TRY(const auto name, text(output, "/name"));
      LATHE_TRY(auto kind, read_output(output, steps_.width()));
      Shape shape{-1};
      if (kind.take == Output::Take::row) shape.push_back(static_cast<std::int64_t>(kind.width));
      outputs_.push_back({std::string(name), kind.type, std::move(shape)});
      kinds_.push_back(std::move(kind));
    }
    if (outputs_.empty()) return fail(Code::invalid, "the model has no outputs");
    return {};
  }

  /// That the rows which came with the model give what the original gave for them.
  Result<void> check(element model) const {
    LATHE_TRY(const auto rows, list(model, "/check/rows"));
    constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
    Tensor input{"input", DataType::fp64, inputs_[0].shape, {}, {}};
    input.shape[0] = 0;
    for (const element row : rows) {
      simdjson::dom::array items;
      if (row.get(items) != simdjson::SUCCESS || static_cast<std::int64_t>(items.size()) != input.shape[1])
        return fail(Code::invalid, "a row to check by is not as wide as the model");
      for (const element item : items) {
        double value = kMissing;
        if (!item.is_null() && item.get(value) != simdjson::SUCCESS)
          return fail(Code::invalid, "a row to check by holds no numbers");
        const auto* bytes = reinterpret_cast<const char*>(&value);
        input.data.insert(input.data.end(), bytes, bytes + sizeof value);
      }
      ++input.shape[0];
    }
    std::vector<std::size_t> wanted(outputs_.size());
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    std::vector<Tensor> outputs;
    LATHE_CHECK(run({&input, 1}, wanted, outputs));
    for (const auto& output : outputs) {
      LATHE_TRY(const element answers, member(model, "/check/answers/" + output.name));
      std::size_t at = 0;
      if (!agree(answers, output, at) || at != output.count())
        return fail(Code::invalid, "the model answers otherwise than the one that it was made from (output \"" +
                                       output.name +
                                       "\"): log it again with this version, or serve it in another format");
    }
    return {};
  }

  /// Compares numbers and texts, however they are nested, from `at` on, and moves it.
  static bool agree(element answers, const Tensor& output, std::size_t& at) {
    simdjson::dom::array nested;
    if (answers.get(nested) == simdjson::SUCCESS) {
      for (const element answer : nested)
        if (!agree(answer, output, at)) return false;
      return true;
    }
    if (at >= output.count()) return false;
    const auto place = at++;
    if (output.type == DataType::bytes)
      return answers.is_string() && answers.get_string().value_unsafe() == output.texts[place];
    double expected = 0;
    if (answers.is_bool())
      expected = answers.get_bool().value_unsafe() ? 1 : 0;
    else if (answers.get(expected) != simdjson::SUCCESS)
      return false;
    const double got = output.type == DataType::boolean ? output.as<std::uint8_t>()[place]
                       : output.type == DataType::int64 ? static_cast<double>(output.as<std::int64_t>()[place])
                                                        : output.as<double>()[place];
    return std::abs(got - expected) <= kTolerance * std::max(1.0, std::abs(expected));
  }

  static void give(const Block& block, const Output& kind, std::size_t from, Tensor& out) {
    for (std::size_t i = 0; i < block.rows; ++i) {
      const double* row = block.row(i);
      const auto at = from + i;
      if (kind.take == Output::Take::row) {
        std::copy_n(row, kind.width, out.as<double>() + at * kind.width);
        continue;
      }
      if (kind.take == Output::Take::first) {
        out.as<double>()[at] = *row;
        continue;
      }
      const auto* found = kind.take == Output::Take::least ? std::min_element(row, row + block.width)
                                                           : std::max_element(row, row + block.width);
      const auto place = static_cast<std::size_t>(found - row);
      if (kind.type == DataType::bytes)
        out.texts.push_back(kind.texts[place]);
      else if (kind.type == DataType::boolean)
        out.as<std::uint8_t>()[at] = static_cast<std::uint8_t>(kind.whole[place]);
      else if (kind.type == DataType::int64)
        out.as<std::int64_t>()[at] = kind.whole[place];
      else
        out.as<double>()[at] = kind.real[place];
    }
  }

  Steps steps_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<Output> kinds_;
  std::vector<std::string> columns_;
};

}  // namespace

Result<std::unique_ptr<Model>> load_native(const ModelSource& source) {
  auto model = std::make_unique<NativeModel>();
  LATHE_CHECK(model->load(source));
  return model;
}

}  // namespace lathe::infer
