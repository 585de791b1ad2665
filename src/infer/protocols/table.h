#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "infer/protocols/tensor_json.h"

namespace lathe::infer {

/// A data frame: named columns of equal length, each of numbers (missing: NaN) or of texts.
struct Table {
  std::vector<std::string> names;
  std::vector<Nested> columns;
  std::size_t rows = 0;
};

/// `{"columns": [...], "data": [[...], ...]}`; "index" is ignored, and without "columns" they are numbered.
Result<Table> read_split_table(ondemand::object object, const std::string& where);
/// `[{"a": 1, "b": 2}, ...]`: a column that a row lacks is missing there.
Result<Table> read_record_table(ondemand::array records, const std::string& where);
/// Comma-separated, with quotes as in RFC 4180; the first line holds the names.
Result<Table> read_csv_table(std::string_view text);

/// What the model takes, from a table: one matrix, or one column for each of its inputs. Errors: `invalid`, naming the
/// column that is missing.
Result<std::vector<Tensor>> table_to_inputs(Table table, const Model& model);

}  // namespace lathe::infer
