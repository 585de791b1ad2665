#include "removal/remover.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"

namespace lathe::removal {
namespace {

using std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::chrono::microseconds kPiece{2000};
constexpr std::chrono::seconds kRetry{30};
constexpr std::string_view kArtifacts = "mlflow-artifacts:/";

/// A lock on a file of the data folder, of the open file: it goes with the process.
Result<Fd> lock_file(const fs::path& data, short type, bool wait) {
  const auto file = data / "removal.lock";
  Fd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!fd) return fail(errno_error("cannot use " + file.string()));
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd.get(), wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0)
    return fail(Code::unavailable, "a backup is being made");
  return fd;
}

/// The folder of a run's or logged model's own, from "mlflow-artifacts:/3/RUN/artifacts"; empty: it lies elsewhere.
std::string own_folder(const std::string& uri, const std::string& id) {
  const auto end = "/" + id + "/artifacts";
  if (!uri.starts_with(kArtifacts) || !uri.ends_with(end)) return {};
  return uri.substr(kArtifacts.size(), uri.size() - kArtifacts.size() - std::string_view("/artifacts").size());
}

/// A job may have left folders that cannot be emptied as they are.
void remove_job_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return;
  std::error_code ignored;
  for (fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, ignored), end;
       !ignored && it != end; it.increment(ignored)) {
    std::error_code unchanged;
    if (it->is_directory(unchanged) && !it->is_symlink(unchanged))
      fs::permissions(it->path(), fs::perms::owner_all, unchanged);
  }
  fs::remove_all(folder, error);
  if (error) log::warn("cannot remove {}: {}", folder.string(), error.message());
}

/// nullopt: its row is gone already.
Result<std::optional<std::string>> uri_of(db::Database& db, std::string_view sql, const std::string& id) {
  return db.read([&](db::Connection& c) {
    return db::first(
        c, sql, [](const db::Row& row) { return row.text(0); }, id);
  });
}

}  // namespace

Result<Fd> pause_removals(const fs::path& data) {
  return lock_file(data, F_RDLCK, true);
}

void Remover::start() {
  thread_ = std::thread([this] { loop(); });
}

void Remover::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Remover::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

bool Remover::stopping() {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

bool Remover::pause(std::chrono::microseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return stopping_; });
  return !stopping_;
}

void Remover::loop() {
  while (!stopping()) {
    auto outcome = options_.retention ? mark_expired() : Result<void>{};
    if (outcome) outcome = remove_marked();
    std::chrono::seconds rest = std::chrono::hours{1};
    if (options_.retention) rest = std::clamp(*options_.retention / 10, std::chrono::seconds{1}, rest);
    if (!outcome && !stopping()) {
      log::warn("removing what was deleted stopped, and goes on in {} s: {}", kRetry.count(), outcome.error().message);
      rest = kRetry;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, rest, [&] { return stopping_ || woken_; });
    woken_ = false;
  }
}

Result<void> Remover::mark_expired() {
  const auto before = now() - *options_.retention;
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return expired(c, before); }));
  const http::Principal server{0, "lathe", http::Role::administrator, {}};
  const auto mark = [&](const auto& what, auto&& by) -> Result<void> {
    for (const auto& one : what) {
      if (stopping()) return {};
      auto marked = db_.write([&](db::Connection& c) { return by(c, one, server, now()); });
      if (marked || marked.error().code == Code::not_found) continue;
      if (marked.error().code != Code::conflict) return fail(marked.error());
      log::debug("kept beyond deleted_retention: {}", marked.error().message);
    }
    return {};
  };
  LATHE_CHECK(mark(found.experiments, mark_experiment));
  LATHE_CHECK(mark(found.runs, mark_run));
  return mark(found.logged_models, mark_logged_model);
}

Result<void> Remover::remove_marked() {
  LATHE_TRY(const auto marked, db_.read([](db::Connection& c) { return removals(c); }));
  for (const auto& removal : marked) {
    LATHE_CHECK(remove(removal));
    if (stopping()) return {};
    LATHE_CHECK(db_.write([&](db::Connection& c) { return forget(c, removal); }));
    log::info("removed kind={} id={} asked_by={}", removal.kind, removal.id, removal.asked_by);
  }
  return {};
}

Result<void> Remover::remove(const Removal& removal) {
  if (removal.kind == "run") return remove_run(removal.id);
  if (removal.kind == "logged_model") return remove_logged_model(removal.id);
  if (removal.kind == "experiment") return remove_experiment(std::atoll(removal.id.c_str()));
  return remove_files(removal.id);
}

Result<void> Remover::remove_run(const std::string& id) {
  LATHE_TRY(const auto uri, uri_of(db_, "SELECT artifact_uri FROM run WHERE id = $1", id));
  if (!uri) return {};
  LATHE_TRY(const auto models, db_.read([&](db::Connection& c) {
    return db::all(
        c, "SELECT id FROM logged_model WHERE source_run_id = $1 AND stage = 'removing'",
        [](const db::Row& row) { return row.text(0); }, id);
  }));
  for (const auto& model : models) LATHE_CHECK(remove_logged_model(model));
  // Files first: while the row is there, a crash between the two is taken up.
  LATHE_CHECK(remove_files(own_folder(*uri, id)));
  if (!options_.jobs.empty()) remove_job_folder(options_.jobs / id);
  return in_pieces([&](db::Connection& c, const Enough& enough) { return clear_run(c, id, enough); });
}

Result<void> Remover::remove_logged_model(const std::string& id) {
  LATHE_TRY(const auto uri, uri_of(db_, "SELECT artifact_uri FROM logged_model WHERE id = $1", id));
  if (!uri) return {};
  LATHE_CHECK(remove_files(own_folder(*uri, id)));
  return in_pieces([&](db::Connection& c, const Enough& enough) { return clear_logged_model(c, id, enough); });
}

Result<void> Remover::remove_experiment(std::int64_t id) {
  LATHE_CHECK(in_pieces([&](db::Connection& c, const Enough& enough) { return hide_contents(c, id, enough); }));
  const auto each = [&](std::string_view sql, auto&& remove) -> Result<void> {
    for (;;) {
      LATHE_TRY(const auto some, db_.read([&](db::Connection& c) {
        return db::all(
            c, sql, [](const db::Row& row) { return row.text(0); }, id);
      }));
      if (some.empty() || stopping()) return {};
      for (const auto& one : some) LATHE_CHECK(remove(one));
    }
  };
  LATHE_CHECK(each("SELECT id FROM run WHERE experiment_id = $1 LIMIT 100",
                   [&](const std::string& run) { return remove_run(run); }));
  LATHE_CHECK(each("SELECT id FROM logged_model WHERE experiment_id = $1 LIMIT 100",
                   [&](const std::string& model) { return remove_logged_model(model); }));
  LATHE_CHECK(remove_files(fmt::to_string(id)));
  return in_pieces([&](db::Connection& c, const Enough& enough) { return clear_experiment(c, id, enough); });
}

Result<void> Remover::remove_files(const std::string& path) {
  if (path.empty() || stopping()) return {};
  auto lock = lock_file(options_.data, F_WRLCK, false);
  while (!lock) {
    if (lock.error().code != Code::unavailable) return fail(lock.error());
    if (!pause(std::chrono::milliseconds{200})) return {};
    lock = lock_file(options_.data, F_WRLCK, false);
  }
  auto removed = artifacts_.remove(path);
  if (!removed && removed.error().code != Code::not_found) return removed;
  return {};
}

Result<void> Remover::in_pieces(const std::function<Result<bool>(db::Connection&, const Enough&)>& work) {
  for (bool done = false; !done && !stopping();) {
    const auto begun = steady_clock::now();
    LATHE_TRY(done, db_.write([&](db::Connection& c) {
      const auto end = steady_clock::now() + kPiece;
      return work(c, [end] { return steady_clock::now() >= end; });
    }));
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begun);
    if (!done && !pause(took)) return {};
  }
  return {};
}

}  // namespace lathe::removal
