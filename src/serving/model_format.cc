#include "serving/model_format.h"

#include <algorithm>

#include "base/text.h"
#include "json/yaml.h"

namespace lathe::serving {
namespace {

constexpr auto kWhatWorks =
    "; what can be served are XGBoost models saved with save_model (.ubj, .json), ONNX models (.onnx), TorchScript (.pt), and "
    "scikit-learn's models that lathe.log_model or lathe.autolog logged in the native form (.native.json)";
constexpr auto kOrScript =
    "; any other model works as an MLflow model with the flavor python_function, or with a scoring script (code_configuration)";

/// The runtime for a file by the end of its name; empty for another file.
std::string_view format_of(std::string_view path) {
  const auto name = to_lower(path.substr(path.rfind('/') + 1));
  if (name.ends_with(".onnx")) return "onnx";
  if (name.ends_with(".native.json")) return "native";
  for (const char* end : {".pt", ".pth", ".torchscript"})
    if (name.ends_with(end)) return "torchscript";
  for (const char* end : {".ubj", ".xgb", ".bst", ".model"})
    if (name.ends_with(end)) return "xgboost";
  // Any JSON could be a description of something: a model is named like one.
  if (name.ends_with(".json") && name.find("model") != std::string::npos) return "xgboost";
  return {};
}

bool has_file(const assets::Tree& files, const std::string& path) {
  return std::any_of(files.files.begin(), files.files.end(), [&](const auto& file) { return file.path == path; });
}

Result<ModelFormat> from_flavor(const std::string& format, const json::Object& flavor, const assets::Tree& files) {
  for (const char* key : {"data", "model_data"}) {
    const auto path = json::get_string(flavor, key);
    if (path && *path && has_file(files, **path)) return ModelFormat{format, **path};
  }
  return fail(Code::invalid, "MLmodel says " + format + ", but the file that it names is not there");
}

}  // namespace

bool is_python(std::string_view format) {
  return format == "pyfunc" || format == "torchscript";
}

Result<ModelFormat> find_format(const json::Value& flavors, const assets::Tree& files) {
  const auto* named = flavors.if_object();
  const bool has_flavors = named != nullptr && !named->empty();
  if (has_flavors) {
    for (const auto& [name, format] : {std::pair{"xgboost", "xgboost"}, {"onnx", "onnx"}, {"lathe_native", "native"}}) {
      const auto* flavor = json::find(*named, name);
      if (flavor != nullptr && flavor->is_object()) return from_flavor(format, flavor->get_object(), files);
    }
  }
  const bool python = has_flavors && json::find(*named, "python_function") != nullptr;
  std::vector<ModelFormat> found;
  std::string pickle;
  for (const auto& file : files.files) {
    const auto format = format_of(file.path);
    const auto name = to_lower(file.path);
    // Beside flavors such a file is what MLflow pickled.
    if (!format.empty() && !(has_flavors && is_python(format))) found.push_back({std::string(format), file.path});
    if (name.ends_with(".pkl") || name.ends_with(".pickle") || name.ends_with(".joblib")) pickle = file.path;
  }
  if (found.size() == 1) return found.front();
  if (python) return ModelFormat{"pyfunc", ""};
  if (found.size() > 1)
    return fail(Code::invalid, "the model has more than one file that could be served (\"" + found[0].file + "\", \"" +
                                   found[1].file + "\"): register a folder with one");
  if (!pickle.empty())
    return fail(Code::invalid, "\"" + pickle + "\" is pickled Python, which is never loaded into the server's programs" + kWhatWorks + kOrScript);
  if (has_flavors) {
    std::string names;
    for (const auto& member : *named) names += (names.empty() ? "" : ", ") + std::string(member.key().data(), member.key().size());
    return fail(Code::invalid, "the model's flavors (" + names + ") cannot be served" + kWhatWorks + kOrScript);
  }
  return fail(Code::invalid, std::string("the model has no file that can be served") + kWhatWorks + kOrScript);
}

std::vector<std::string> feature_names(std::string_view mlmodel) {
  const auto document = json::parse_yaml(mlmodel, "MLmodel");
  if (!document || !document->value.is_object()) return {};
  const auto signature = json::get_object(document->value.get_object(), "signature");
  if (!signature || *signature == nullptr) return {};
  const auto inputs = json::get_string(**signature, "inputs");
  if (!inputs || !*inputs) return {};
  const auto columns = json::parse(**inputs);
  if (!columns || !columns->is_array()) return {};
  std::vector<std::string> names;
  for (const auto& column : columns->get_array()) {
    if (!column.is_object()) return {};
    const auto name = json::get_string(column.get_object(), "name");
    if (!name || !*name) return {};
    names.push_back(**name);
  }
  return names;
}

}  // namespace lathe::serving
