#pragma once

#include <memory>
#include <string>

#include "db/postgres.h"

namespace lathe::db {

/// The right to write to a PostgreSQL store, which one server has at a time.
///
/// The session that writes holds an advisory lock, so that a second server is refused while it lives. The table
/// store_lease has one row with an epoch, which each new holder raises; each commit updates that row with its own
/// epoch, and a CHECK refuses an old one. So a server that lost its session, and the lock with it, can never commit
/// after another took over. The same row counts the commits: when a session is lost at COMMIT, the count tells whether
/// that commit was kept.
class Lease {
 public:
  explicit Lease(std::string uri) : uri_(std::move(uri)) {}

  /// Opens the session that writes, and takes the lease or, the second time, makes sure that it is still ours.
  /// Errors: `conflict` — another server has it, or (the second time) had it since; `unavailable`, `invalid`.
  Result<std::unique_ptr<PostgresConnection>> open();

  /// The statement that goes before each COMMIT.
  const std::string& mark() const { return mark_; }
  /// How many commits were kept, as of the last `open`.
  std::int64_t commits() const { return commits_; }

 private:
  Result<void> lock(PostgresConnection& c);
  Result<void> begin_epoch(PostgresConnection& c);
  Result<void> check_epoch(PostgresConnection& c);
  Error taken_over() const;

  std::string uri_;
  std::int64_t epoch_ = 0;
  std::int64_t commits_ = 0;
  int process_ = 0;  ///< PostgreSQL's, of our last session
  std::string mark_;
};

}  // namespace lathe::db
