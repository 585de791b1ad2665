#include "db/migrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/time.h"

namespace lathe::db {

Result<void> migrate(Connection& connection, const Migrating& how, const std::vector<Migration>& steps) {
  LATHE_CHECK(
      connection.script(how.translate("CREATE TABLE IF NOT EXISTS schema_step (number BIGINT PRIMARY KEY, name TEXT "
                                      "NOT NULL, applied_us BIGINT NOT NULL)")));
  std::set<std::int64_t> applied;
  LATHE_CHECK(
      each(connection, "SELECT number FROM schema_step", [&](const Row& row) { applied.insert(row.integer(0)); }));

  const int newest = steps.empty() ? 0 : steps.back().number;
  if (!applied.empty() && *applied.rbegin() > newest)
    return fail(Code::conflict,
                fmt::format("the store {} was written by a newer Lathe (its schema is at step {}, this program "
                            "knows {}): install that version, or {}",
                            how.store, *applied.rbegin(), newest, how.advice));

  const bool complete =
      std::all_of(steps.begin(), steps.end(), [&](const Migration& step) { return applied.contains(step.number); });
  if (complete) return {};

  if (!applied.empty()) LATHE_CHECK(how.before(*applied.rbegin()));
  // All in one transaction: a store is at the old schema or at the new one, and the disk is waited for once.
  LATHE_CHECK(connection.script(how.begin));
  for (const auto& step : steps) {
    if (applied.contains(step.number)) continue;
    auto done = connection.script(how.translate(step.sql));
    if (done) {
      auto noted = run(connection, "INSERT INTO schema_step (number, name, applied_us) VALUES ($1, $2, $3)",
                       step.number, step.name, micros(now()));
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
