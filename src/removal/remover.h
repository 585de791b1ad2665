#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "http/http.h"
#include "removal/removal.h"
#include "storage/storage.h"

namespace lathe::removal {

/// Removes what is marked, on a thread of its own, and marks what was deleted longer ago than `retention`.
///
/// Rows go in transactions of a few milliseconds with as long a pause after each, so that other writes pass. What fails
/// (S3 is away) is tried again later.
class Remover {
 public:
  struct Options {
    std::filesystem::path data;
    std::filesystem::path jobs;                          ///< the folder of all jobs
    std::optional<std::chrono::seconds> retention = {};  ///< unset: what is marked as deleted stays
  };
  Remover(db::Database& db, storage::Storage& artifacts, Options options)
      : db_(db), artifacts_(artifacts), options_(std::move(options)) {}
  ~Remover() { stop(); }
  Remover(const Remover&) = delete;
  Remover& operator=(const Remover&) = delete;

  void start();
  void stop();
  /// Something was marked.
  void wake();

 private:
  void loop();
  /// What could be done now was done.
  Result<void> remove_marked();
  Result<void> mark_expired();
  Result<void> remove(const Removal& removal);
  Result<void> remove_run(const std::string& id);
  Result<void> remove_logged_model(const std::string& id);
  Result<void> remove_experiment(std::int64_t id);
  Result<void> remove_files(const std::string& path);
  /// Runs pieces of `work` until it answers true.
  Result<void> in_pieces(const std::function<Result<bool>(db::Connection&, const Enough&)>& work);
  bool stopping();
  /// False: the program stops.
  bool pause(std::chrono::microseconds time);

  db::Database& db_;
  storage::Storage& artifacts_;
  Options options_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool woken_ = false;
};

/// DELETE and restore of runs, experiments and models, and the list of what is being removed.
void add_routes(http::Router& router, db::Database& db, Remover& remover);

}  // namespace lathe::removal
