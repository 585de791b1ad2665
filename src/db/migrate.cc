#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "base/file.h"
#include "base/time.h"
#include "db/sqlite.h"

namespace lathe::db {

Result<void> migrate(SqliteConnection& connection, const std::string& file, const std::vector<Migration>& steps) {
  LATHE_CHECK(connection.script(
      "CREATE TABLE IF NOT EXISTS schema_step (number BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_us BIGINT NOT NULL)"));
  std::set<std::int64_t> applied;
  LATHE_CHECK(each(connection, "SELECT number FROM schema_step", [&](const Row& row) { applied.insert(row.integer(0)); }));

  const int newest = steps.empty() ? 0 : steps.back().number;
  if (!applied.empty() && *applied.rbegin() > newest)
    return fail(Code::conflict, fmt::format("the store {} was written by a newer Lathe (its schema is at step {}, this program "
                                            "knows {}): install that version, or restore a copy from the folder backups",
                                            file, *applied.rbegin(), newest));

  const bool complete =
      std::all_of(steps.begin(), steps.end(), [&](const Migration& step) { return applied.contains(step.number); });
  if (complete) return {};

  if (!applied.empty()) {
    const auto folder = std::filesystem::path(file).parent_path() / "backups";
    LATHE_CHECK(make_folder(folder));
    const auto copy = folder / fmt::format("lathe-{:04}.db", *applied.rbegin());
    std::error_code ignored;
    std::filesystem::remove(copy, ignored);
    LATHE_CHECK(run(connection, "VACUUM INTO $1", copy.string()));
  }
  // All in one transaction: a store is at the old schema or at the new one, and the disk is waited for once.
  LATHE_CHECK(connection.script("BEGIN IMMEDIATE"));
  for (const auto& step : steps) {
    if (applied.contains(step.number)) continue;
    auto done = connection.script(step.sql);
    if (done) {
      auto noted = run(connection, "INSERT INTO schema_step (number, name, applied_us) VALUES ($1, $2, $3)", step.number,
                       step.name, micros(now()));
      if (!noted) done = fail(noted.error());
    }
    if (!done) {
      auto undone = connection.script("ROLLBACK");
      (void)undone;  // the first error tells more
      return fail_in(fmt::format("migration {:04}_{}", step.number, step.name), done.error());
    }
  }
  return connection.script("COMMIT");
}

}  // namespace lathe::db
