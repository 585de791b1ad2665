#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "db/db.h"

namespace lathe::db {

/// A write on its way, and what became of it.
struct Write {
  Database::Work work;
  Database::Done done;
  Result<void> outcome;
};

/// The writes that wait for the writer. Thread-safe.
class WriteQueue {
 public:
  void push(Database::Work work, Database::Done done);
  /// No more is waited for; what is queued is still handed out.
  void stop();
  bool stopping() const;

  /// Up to `most` writes; none when nothing came for so long. nullopt: it was stopped, and nothing is left.
  std::optional<std::vector<Write>> take(std::size_t most, std::chrono::milliseconds wait = std::chrono::hours{24});
  /// Returns after so long, or when it is stopped.
  void pause(std::chrono::milliseconds length);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Write> writes_;
  bool stopping_ = false;
};

/// Runs a unit of work; what it throws is its error.
Result<void> run_guarded(const Database::Work& work, Connection& connection);

}  // namespace lathe::db
