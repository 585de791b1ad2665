#include "infer/protocols/scoring.h"

#include <algorithm>
#include <optional>

#include "infer/protocols/table.h"

namespace lathe::infer {
namespace {

using simdjson::SUCCESS;

bool has_type(ondemand::value value, ondemand::json_type wanted) {
  ondemand::json_type type{};
  return value.type().get(type) == SUCCESS && type == wanted;
}

/// A list of lists, for the model's only input.
Result<std::vector<Tensor>> read_list(ondemand::value value, const std::string& where, const Model& model) {
  const auto& wanted = model.inputs();
  if (wanted.size() != 1)
    return fail(Code::invalid, where + ": the model has " + std::to_string(wanted.size()) +
                                   " inputs; give an object with a list for each");
  LATHE_TRY(auto nested, read_nested(value, where));
  LATHE_TRY(auto input, to_tensor(std::move(nested), wanted[0]));
  LATHE_CHECK(fit(input, wanted[0], model.converts_numbers()));
  std::vector<Tensor> inputs;
  inputs.push_back(std::move(input));
  return inputs;
}

/// `{"name": [...], ...}`: a list for each input, or for each column of the one matrix that the model takes.
Result<std::vector<Tensor>> read_named_lists(ondemand::object object, const std::string& where, const Model& model) {
  const auto& wanted = model.inputs();
  std::vector<std::optional<Nested>> found(wanted.size());
  Table table;
  for (auto field : object) {
    std::string_view key;
    ondemand::value value;
    if (field.unescaped_key().get(key) != SUCCESS || field.value().get(value) != SUCCESS)
      return fail(Code::invalid, where + " is not a JSON object");
    const std::string name(key);
    LATHE_TRY(auto nested, read_nested(value, where + "." + name));
    const auto info = std::find_if(wanted.begin(), wanted.end(), [&](const auto& one) { return one.name == name; });
    if (info != wanted.end()) {
      found[static_cast<std::size_t>(info - wanted.begin())] = std::move(nested);
    } else {
      if (nested.shape.size() != 1) return fail(Code::invalid, where + "." + name + ": the model has no such input");
      table.rows = std::max(table.rows, nested.count());
      table.names.push_back(name);
      table.columns.push_back(std::move(nested));
    }
  }
  if (std::none_of(found.begin(), found.end(), [](const auto& one) { return one.has_value(); }) && wanted.size() == 1) {
    for (std::size_t i = 0; i < table.columns.size(); ++i)
      if (table.columns[i].count() != table.rows)
        return fail(Code::invalid, where + "." + table.names[i] + ": expected " + std::to_string(table.rows) +
                                       " values as in the others, got " + std::to_string(table.columns[i].count()));
    return table_to_inputs(std::move(table), model);
  }
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!found[i]) return fail(Code::invalid, where + ": input \"" + wanted[i].name + "\" is missing");
    LATHE_TRY(auto input, to_tensor(std::move(*found[i]), wanted[i]));
    LATHE_CHECK(fit(input, wanted[i], model.converts_numbers()));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

/// Whether the first item of the list is an object; looks without reading, since a value is read once.
bool holds_objects(ondemand::value list) {
  const auto token = list.raw_json_token();  // from '[' to where the next token begins, in a padded buffer
  return token.data()[token.size()] == '{';
}

Result<std::vector<Tensor>> read_member(std::string_view key, ondemand::value value, const Model& model) {
  const std::string where(key);
  if (key == "dataframe_split" || (key == "input_data" && has_type(value, ondemand::json_type::object))) {
    ondemand::object object;
    if (value.get_object().get(object) != SUCCESS) return fail(Code::invalid, where + " must be an object");
    LATHE_TRY(auto table, read_split_table(object, where));
    return table_to_inputs(std::move(table), model);
  }
  if (!has_type(value, ondemand::json_type::array) && !has_type(value, ondemand::json_type::object))
    return fail(Code::invalid, where + " must be a list or an object");
  if (key == "dataframe_records" || (has_type(value, ondemand::json_type::array) && holds_objects(value))) {
    ondemand::array records;
    if (value.get_array().get(records) != SUCCESS) return fail(Code::invalid, where + " must be a list of objects");
    LATHE_TRY(auto table, read_record_table(records, where));
    return table_to_inputs(std::move(table), model);
  }
  if (has_type(value, ondemand::json_type::object)) {
    ondemand::object object;
    if (value.get_object().get(object) != SUCCESS) return fail(Code::invalid, where + " must be an object");
    return read_named_lists(object, where, model);
  }
  return read_list(value, where, model);
}

bool is_input_key(std::string_view key, ScoringStyle style) {
  if (key == "dataframe_split" || key == "dataframe_records" || key == "inputs" || key == "instances") return true;
  return style == ScoringStyle::azure && (key == "input_data" || key == "data");
}

}  // namespace

Result<std::vector<Tensor>> read_scoring_json(ondemand::parser& parser, std::string_view body, ScoringStyle style,
                                              const Model& model) {
  LATHE_TRY(auto document, open_json(parser, body));
  ondemand::object object;
  if (const auto error = document.get_object().get(object)) return fail(Code::invalid, json_trouble(error));
  std::optional<std::vector<Tensor>> inputs;
  for (auto field : object) {
    std::string_view key;
    ondemand::value value;
    if (const auto error = field.unescaped_key().get(key)) return fail(Code::invalid, json_trouble(error));
    if (!is_input_key(key, style)) continue;
    if (inputs) return fail(Code::invalid, "more than one kind of input is given; \"" + std::string(key) + "\" is one");
    if (const auto error = field.value().get(value)) return fail(Code::invalid, json_trouble(error));
    LATHE_TRY(inputs, read_member(key, value, model));
  }
  if (!inputs)
    return fail(Code::invalid, style == ScoringStyle::azure
                                   ? "the body must have \"input_data\" (or one of dataframe_split, dataframe_records, "
                                     "inputs, instances)"
                                   : "the body must have exactly one of dataframe_split, dataframe_records, inputs, "
                                     "instances");
  return std::move(*inputs);
}

Result<std::vector<Tensor>> read_scoring_csv(std::string_view body, const Model& model) {
  LATHE_TRY(auto table, read_csv_table(body));
  return table_to_inputs(std::move(table), model);
}

void append_predictions(std::string& out, ScoringStyle style, const std::vector<Tensor>& outputs) {
  if (style == ScoringStyle::mlflow) out += "{\"predictions\":";
  if (outputs.size() == 1) {
    append_nested(out, outputs[0]);
  } else {
    out += '{';
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (i > 0) out += ',';
      append_text(out, outputs[i].name);
      out += ':';
      append_nested(out, outputs[i]);
    }
    out += '}';
  }
  if (style == ScoringStyle::mlflow) out += '}';
}

}  // namespace lathe::infer
