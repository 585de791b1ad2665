// What the whole of a PostgreSQL store looks like, for backups.
#include <fmt/format.h>

#include "db/postgres.h"

namespace lathe::db {

Result<std::vector<Table>> PostgresConnection::tables() {
  // By their numbers, which grow: a table can only refer to earlier ones. The lease is the server's, not the store's.
  static constexpr auto kSql = R"sql(
    SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname <> 'store_lease'
     ORDER BY c.oid, a.attnum)sql";
  using Kind = TableColumn::Kind;
  std::vector<Table> out;
  std::string unknown;
  LATHE_CHECK(db::each(*this, kSql, [&](const Row& row) {
    if (out.empty() || out.back().name != row.text_view(0)) out.push_back({row.text(0), {}});
    const auto type = row.text(2);
    const auto kind = type == "bigint" ? Kind::integer : type == "double precision" ? Kind::real : Kind::text;
    if (kind == Kind::text && type != "text") unknown = fmt::format("{}.{} is {}", row.text(0), row.text(1), type);
    out.back().columns.push_back({row.text(1), kind});
  }));
  if (!unknown.empty()) return fail(Code::internal, "a column of a kind that is not known: " + unknown);
  return out;
}

Result<std::vector<std::string>> PostgresConnection::check() {
  return std::vector<std::string>{};  // PostgreSQL keeps its references itself, and its files are its own care
}

Result<void> PostgresConnection::scan(std::string_view sql, const std::function<void(const Row&)>& each) {
  // A name of its own: the session keeps FETCH as a prepared statement, whose columns must stay what they were.
  const auto cursor = fmt::format("scan_{}", ++last_name_);
  LATHE_CHECK(db::run(*this, fmt::format("DECLARE {} NO SCROLL CURSOR FOR {}", cursor, sql)));
  const auto fetch = fmt::format("FETCH 5000 FROM {}", cursor);
  for (bool more = true; more;) {
    more = false;
    LATHE_CHECK(execute(fetch, {}, [&](const Row& row) {
      more = true;
      each(row);
    }));
  }
  LATHE_CHECK(db::run(*this, fmt::format("CLOSE {}", cursor)));
  return {};
}

}  // namespace lathe::db
