#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "infer/protocols/tensor_json.h"

/// MLflow's /invocations and Azure ML's /score: tables and lists of lists in, predictions out.
namespace lathe::infer {

enum class ScoringStyle {
  mlflow,  ///< exactly one of dataframe_split, dataframe_records, inputs, instances
  azure    ///< input_data (a split table or a list) or data; MLflow's members work too
};

/// Reads a JSON body into the model's inputs, in their order. Columns go to their places by name when both sides have
/// names. Errors: `invalid`, naming the column or input, what was expected and what came.
Result<std::vector<Tensor>> read_scoring_json(ondemand::parser& parser, std::string_view body, ScoringStyle style,
                                              const Model& model);

/// As above from CSV: the first line names the columns; empty cells are missing values.
Result<std::vector<Tensor>> read_scoring_csv(std::string_view body, const Model& model);

/// `{"predictions": ...}`, or the bare predictions as Azure's servers give them: a list for a model with one output,
/// else an object of lists by the outputs' names.
void append_predictions(std::string& out, ScoringStyle style, const std::vector<Tensor>& outputs);

}  // namespace lathe::infer
