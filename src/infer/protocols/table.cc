#include "infer/protocols/table.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "base/text.h"

namespace lathe::infer {
namespace {

using simdjson::SUCCESS;

constexpr std::size_t kMostColumns = 100'000;

void append_missing(Nested& column) {
  if (column.texts.empty())
    column.numbers.push_back(std::numeric_limits<double>::quiet_NaN());
  else
    column.texts.emplace_back();
}

std::string in_quotes(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

Result<std::vector<std::string>> read_names(ondemand::value value, const std::string& where) {
  ondemand::array list;
  if (value.get_array().get(list) != SUCCESS) return fail(Code::invalid, where + ".columns must be a list of names");
  std::vector<std::string> names;
  for (auto item : list) {
    std::string_view text;
    std::int64_t number = 0;
    ondemand::value each;
    if (item.get(each) != SUCCESS) return fail(Code::invalid, where + ".columns must be a list of names");
    if (each.get_string().get(text) == SUCCESS)
      names.emplace_back(text);
    else if (each.get_int64().get(number) == SUCCESS)
      names.push_back(std::to_string(number));
    else
      return fail(Code::invalid, where + ".columns must be a list of names");
    if (names.size() > kMostColumns) return fail(Code::invalid, where + " has too many columns");
  }
  return names;
}

Result<void> read_row(ondemand::array row, Table& table, const std::string& where) {
  const auto place = where + ".data[" + std::to_string(table.rows) + "]";
  std::size_t i = 0;
  for (auto item : row) {
    ondemand::value cell;
    if (const auto error = item.get(cell)) return fail(Code::invalid, json_trouble(error));
    if (table.rows == 0 && i == table.columns.size() && table.names.empty()) table.columns.emplace_back();
    if (i == table.columns.size())
      return fail(Code::invalid, place + ": expected " + std::to_string(table.columns.size()) + " values, got more");
    LATHE_CHECK(read_scalar(cell, table.columns[i], place));
    if (++i > kMostColumns) return fail(Code::invalid, where + " has too many columns");
  }
  if (i != table.columns.size())
    return fail(Code::invalid,
                place + ": expected " + std::to_string(table.columns.size()) + " values, got " + std::to_string(i));
  ++table.rows;
  return {};
}

/// One field of CSV from `text` at `at`, which is left at the separator, the line end or the end.
Result<std::string> read_field(std::string_view text, std::size_t& at, std::size_t line) {
  if (at >= text.size() || text[at] != '"') {
    const auto end = std::min(text.find_first_of(",\r\n", at), text.size());
    const auto field = text.substr(at, end - at);
    at = end;
    return std::string(trim(field));
  }
  std::string field;
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') {
      if (at + 1 >= text.size() || text[at + 1] != '"') {
        ++at;
        return field;
      }
      ++at;
    }
    field += text[at];
  }
  return fail(Code::invalid, "CSV line " + std::to_string(line) + ": a quote is not closed");
}

Result<std::vector<std::string>> read_csv_line(std::string_view text, std::size_t& at, std::size_t line) {
  std::vector<std::string> fields;
  for (;;) {
    LATHE_TRY(auto field, read_field(text, at, line));
    fields.push_back(std::move(field));
    if (fields.size() > kMostColumns) return fail(Code::invalid, "CSV: too many columns");
    if (at < text.size() && text[at] == ',') {
      ++at;
      continue;
    }
    break;
  }
  if (at < text.size() && text[at] == '\r') ++at;
  if (at < text.size()) {
    if (text[at] != '\n')
      return fail(Code::invalid, "CSV line " + std::to_string(line) + ": expected a comma or the end of the line");
    ++at;
  }
  return fields;
}

Result<void> append_cell(const std::string& cell, Nested& column, const std::string& where) {
  if (cell.empty()) {
    append_missing(column);
    return {};
  }
  double number = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  const bool is_number = error == std::errc{} && end == cell.data() + cell.size();
  if (is_number && column.texts.empty()) {
    column.numbers.push_back(number);
    return {};
  }
  if (!column.numbers.empty())
    return fail(Code::invalid, where + ": expected a number as in the lines above, got \"" + printable(cell) + "\"");
  column.texts.push_back(cell);
  return {};
}

std::size_t index_of(const std::vector<std::string>& names, std::string_view name) {
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

/// The columns of `table` that are `wanted`, in that order.
Result<std::vector<Nested*>> pick_columns(Table& table, const std::vector<std::string>& wanted) {
  std::unordered_map<std::string_view, Nested*> by_name;
  for (std::size_t i = 0; i < table.names.size(); ++i)
    if (!by_name.emplace(table.names[i], &table.columns[i]).second)
      return fail(Code::invalid, "column " + in_quotes(table.names[i]) + " is given twice");
  std::vector<Nested*> picked;
  for (const auto& name : wanted) {
    const auto found = by_name.find(name);
    if (found == by_name.end())
      return fail(Code::invalid, "column " + in_quotes(name) + " is missing; the model takes " +
                                     std::to_string(wanted.size()) + " columns, got " +
                                     std::to_string(table.names.size()));
    picked.push_back(found->second);
  }
  return picked;
}

/// Columns side by side as one matrix.
Result<Nested> join_columns(const std::vector<Nested*>& columns, std::size_t rows) {
  Nested matrix;
  matrix.shape = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns.size())};
  const bool texts = std::any_of(columns.begin(), columns.end(), [](auto* column) { return !column->texts.empty(); });
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i]->texts.empty() == texts)
        return fail(Code::invalid, "column " + std::to_string(i) + " and others mix texts and numbers");
      if (texts)
        matrix.texts.push_back(columns[i]->texts[row]);
      else
        matrix.numbers.push_back(columns[i]->numbers[row]);
    }
  return matrix;
}

}  // namespace

Result<Table> read_split_table(ondemand::object object, const std::string& where) {
  Table table;
  ondemand::value value;
  // After any error but this one simdjson has let go of the document: it must not be asked again.
  if (const auto error = object.find_field_unordered("columns").get(value); error == SUCCESS) {
    if (!is_null(value)) {
      LATHE_TRY(table.names, read_names(value, where));
      table.columns.resize(table.names.size());
    }
  } else if (error != simdjson::NO_SUCH_FIELD) {
    return fail(Code::invalid, json_trouble(error));
  }
  ondemand::array rows;
  if (object.find_field_unordered("data").get_array().get(rows) != SUCCESS)
    return fail(Code::invalid, where + ".data must be a list of rows");
  for (auto item : rows) {
    ondemand::array row;
    if (item.get_array().get(row) != SUCCESS)
      return fail(Code::invalid, where + ".data[" + std::to_string(table.rows) + "] must be a list");
    LATHE_CHECK(read_row(row, table, where));
  }
  return table;
}

Result<Table> read_record_table(ondemand::array records, const std::string& where) {
  Table table;
  std::unordered_map<std::string, std::size_t> places;
  for (auto item : records) {
    const auto place = where + "[" + std::to_string(table.rows) + "]";
    ondemand::object record;
    if (item.get_object().get(record) != SUCCESS) return fail(Code::invalid, place + " must be an object");
    for (auto field : record) {
      std::string_view key;
      ondemand::value cell;
      if (field.unescaped_key().get(key) != SUCCESS || field.value().get(cell) != SUCCESS)
        return fail(Code::invalid, place + " is not a JSON object");
      const auto [found, added] = places.emplace(key, table.columns.size());
      if (added) {
        if (places.size() > kMostColumns) return fail(Code::invalid, where + " has too many columns");
        table.names.emplace_back(key);
        table.columns.emplace_back();
        for (std::size_t i = 0; i < table.rows; ++i) append_missing(table.columns.back());
      }
      auto& column = table.columns[found->second];
      if (column.count() > table.rows) return fail(Code::invalid, place + ": " + in_quotes(key) + " is given twice");
      LATHE_CHECK(read_scalar(cell, column, place + "." + std::string(key)));
    }
    ++table.rows;
    for (auto& column : table.columns)
      if (column.count() < table.rows) append_missing(column);
  }
  return table;
}

Result<Table> read_csv_table(std::string_view text) {
  Table table;
  std::size_t at = 0;
  if (text.empty()) return fail(Code::invalid, "the CSV is empty; its first line must name the columns");
  LATHE_TRY(table.names, read_csv_line(text, at, 1));
  table.columns.resize(table.names.size());
  for (std::size_t line = 2; at < text.size(); ++line) {
    if (text[at] == '\n' || text.substr(at, 2) == "\r\n") {
      at += text[at] == '\n' ? 1 : 2;
      continue;
    }
    LATHE_TRY(const auto fields, read_csv_line(text, at, line));
    if (fields.size() != table.columns.size())
      return fail(Code::invalid, "CSV line " + std::to_string(line) + ": expected " +
                                     std::to_string(table.columns.size()) + " values, got " +
                                     std::to_string(fields.size()));
    for (std::size_t i = 0; i < fields.size(); ++i)
      LATHE_CHECK(append_cell(fields[i], table.columns[i],
                              "CSV line " + std::to_string(line) + ", column " + in_quotes(printable(table.names[i]))));
    ++table.rows;
  }
  return table;
}

Result<std::vector<Tensor>> table_to_inputs(Table table, const Model& model) {
  const auto& wanted = model.inputs();
  std::vector<Tensor> inputs;
  const bool named = !table.names.empty();
  if (wanted.size() == 1 && wanted[0].shape.size() == 2) {
    std::vector<Nested*> columns;
    // Clients number the columns of a list ("0", "1", ...): those names say nothing about the model's.
    const bool numbered = named && index_of(table.names, "0") == 0;
    if (named && !numbered && !model.columns().empty()) {
      LATHE_TRY(columns, pick_columns(table, model.columns()));
    } else {
      for (auto& column : table.columns) columns.push_back(&column);
    }
    LATHE_TRY(auto matrix, join_columns(columns, table.rows));
    LATHE_TRY(auto input, to_tensor(std::move(matrix), wanted[0]));
    inputs.push_back(std::move(input));
  } else {
    std::vector<std::string> names;
    for (const auto& info : wanted) names.push_back(info.name);
    LATHE_TRY(const auto columns, pick_columns(table, names));
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      auto column = std::move(*columns[i]);
      column.shape = {static_cast<std::int64_t>(table.rows)};
      if (wanted[i].shape.size() == 2) column.shape.push_back(1);
      LATHE_TRY(auto input, to_tensor(std::move(column), wanted[i]));
      inputs.push_back(std::move(input));
    }
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) LATHE_CHECK(fit(inputs[i], wanted[i], model.converts_numbers()));
  return inputs;
}

}  // namespace lathe::infer
