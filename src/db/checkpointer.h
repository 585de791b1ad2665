#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "db/sqlite.h"

namespace lathe::db {

/// Copies the pages of the WAL into the database file on a thread of its own, so that a commit does not wait for it.
/// While writes go on it never reaches the end of the WAL, which could then never begin anew: it comes close, and the
/// writer copies the rest between two commits.
class Checkpointer {
 public:
  /// `own`: a connection of the thread's own.
  explicit Checkpointer(std::unique_ptr<SqliteConnection> own);
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// For the writer, between two commits.
  void after_commit(SqliteConnection& writer);

 private:
  void run();

  std::unique_ptr<SqliteConnection> own_;
  std::mutex mutex_;
  std::condition_variable asked_, copied_;
  enum class State : std::uint8_t { resting, copying, close, stopping } state_ = State::resting;
  int next_pages_;  ///< the writer's: the size of the WAL at which the thread is asked
  std::thread thread_;
};

}  // namespace lathe::db
