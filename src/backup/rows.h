#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "db/db.h"

/// Rows as text, in the form of PostgreSQL's COPY: a line for each, tabs between values, \N for NULL, and \t \n \r
/// \\ in texts. Numbers with a point are written so that they are read back as they were.
namespace lathe::backup {

void append_row(std::string& out, const db::Row& row, const std::vector<db::TableColumn>& columns);

/// Inserts the lines of `text` into the table's `columns`. Errors: `invalid` — not such lines, with the line's number.
Result<std::int64_t> insert_rows(db::Connection& c, const db::Table& table, std::string_view text);

}  // namespace lathe::backup
