#pragma once

#include <functional>
#include <string>

#include "db/db.h"

namespace lathe::db {

/// How a database takes the steps of the schema.
struct Migrating {
  std::string store;                 ///< its name, for errors
  std::string advice;                ///< what to do with a store that is too new, after "install that version"
  std::string_view begin = "BEGIN";  ///< a transaction that will write
  std::function<std::string(std::string_view)> translate;  ///< a step's SQL as the database has it
  std::function<Result<void>(std::int64_t step)> before;   ///< before the first new step of a store that is at `step`
};

/// Applies the steps that are missing, in one transaction. Errors: `conflict` — the store is newer than this program.
Result<void> migrate(Connection& connection, const Migrating& how, const std::vector<Migration>& steps);

}  // namespace lathe::db
