#pragma once

#include <span>
#include <string>
#include <string_view>

#include "db/db.h"

/// All in which the two databases differ. SQL in this program is written once, so that both take it:
///
/// - Tables: keys and numbers are BIGINT (`INTEGER PRIMARY KEY` where SQLite should use its row number, ` WITHOUT ROWID` where its rows should lie in the order
///   of their keys), texts TEXT,
/// real
///   numbers DOUBLE PRECISION, truth is BIGINT 0 or 1. `postgres_schema` makes PostgreSQL's of it.
/// - Texts compare and sort by their bytes, in both: PostgreSQL's columns have the collation "C", which also makes
/// LOWER
///   the same, ASCII only. LIKE tells capitals apart in both (a pragma in SQLite) and is written with ESCAPE '\'.
/// - NULL sorts first in SQLite and last in PostgreSQL: an ORDER BY says where it goes by a CASE before it.
/// - NaN is not kept as a number (a column is_nan says so), nor is an infinity, nor the sign of zero, which SQLite
/// drops.
/// - Whole numbers are compared with whole numbers: PostgreSQL would compare a BIGINT with a double inexactly.
/// - Where a text stands in another one is `strpos(text, part)`, in characters from 1, which SQLite calls instr.
/// - A list is `x = ANY($1)`, which SQLite runs as `x IN (SELECT value FROM lathe_list($1))`.
/// - INSERT ... SELECT ... ON CONFLICT has a WHERE (TRUE at least), without which SQLite takes ON for a join's.
/// - A statement that fails ends a PostgreSQL transaction: a write whose statement failed has failed, whatever it does
/// next.
/// - PostgreSQL refuses texts that hold NUL or are not UTF-8 (`invalid`).
namespace lathe::db::dialect {

/// A migration as PostgreSQL has it.
std::string postgres_schema(std::string_view script);
/// `into`, rows of `columns` (as arrays, or one value for all rows), `otherwise`: one statement for any number of rows.
std::string postgres_insert(std::string_view into, std::span<const Column> columns, std::string_view otherwise);
/// What an SQLSTATE means to us; `message` is PostgreSQL's.
Error postgres_error(std::string_view state, const std::string& message);

/// A statement as SQLite has it.
std::string sqlite_statement(std::string_view sql);
/// Run on each of SQLite's connections: makes it behave as written above.
inline constexpr std::string_view kSqliteSession = "PRAGMA case_sensitive_like=ON";

}  // namespace lathe::db::dialect
