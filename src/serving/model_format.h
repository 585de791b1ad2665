#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "assets/tree.h"
#include "base/result.h"
#include "json/json.h"

namespace lathe::serving {

/// How the data plane reads a model.
struct ModelFormat {
  std::string format;  ///< "xgboost", "onnx", "native"; "pyfunc", "torchscript": what only Python can read
  std::string file;    ///< below the model's folder; empty for "pyfunc"
};

/// Whether models of this format are read by Python, in workers.
bool is_python(std::string_view format);

/// From MLmodel's flavors where there are any, else from the files' names.
/// Errors: `invalid`, with what can be served: no such model, or more than one.
Result<ModelFormat> find_format(const json::Value& flavors, const assets::Tree& files);

/// The names of the model's columns as MLmodel's text tells them, in their order; empty when it does not.
std::vector<std::string> feature_names(std::string_view mlmodel);

}  // namespace lathe::serving
