#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infer/runtimes/tensor.h"

/// What a model was asked and has answered, as JSON that a person, pandas and a monitor read: one record a row.
namespace lathe::infer {

/// `[{"age":31,"income":2.5},...]`. The rows are the first dimension that all tensors share; without one there is a
/// single record. `columns` name the values of a single matrix. NaN and infinities become null, bytes that are no
/// UTF-8 U+FFFD.
void append_records(std::string& out, std::span<const Tensor> tensors, const std::vector<std::string>& columns);

/// A body of MLflow's or Azure's protocols that Lathe did not read: the JSON of its members "data", "datacontenttype"
/// and, of bytes that are no text, "data_base64" (as CloudEvents has it), without braces. Data frames (dataframe_split,
/// dataframe_records, input_data) become records, and so does a list of predictions.
std::string body_members(std::string_view body);

}  // namespace lathe::infer
