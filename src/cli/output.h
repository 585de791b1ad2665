#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/verbs.h"
#include "json/json.h"

namespace lathe::cli {

/// Errors: `invalid` for an unknown format.
Result<void> check_format(const std::string& format);

/// The text of a result as json, jsonc, yaml, yamlc, table, tsv or none; ends with a newline unless it is empty.
/// `columns`: of a table; empty: the fields that the rows have.
std::string render(const json::Value& result, const std::string& format, const std::vector<Column>& columns);

/// How many cells of a terminal the text takes.
std::size_t display_width(std::string_view text);

}  // namespace lathe::cli
