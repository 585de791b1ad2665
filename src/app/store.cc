#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "app/app.h"
#include "app/data_folder.h"
#include "backup/backup.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/time.h"
#include "cli/exit_codes.h"
#include "db/postgres_place.h"
#include "jobs/launcher.h"

namespace lathe::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostShown = 20;

std::string size_text(std::uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} KB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string said(const backup::Summary& summary) {
  return fmt::format("{} rows and {} files ({}), as they were at {}", summary.rows, summary.files,
                     size_text(summary.file_bytes), summary.made_at);
}

bool in_postgres(const Config& config) { return config.text("store") != "sqlite"; }

Result<void> check_there(const Config& config) {
  const auto data = config.data();
  if (in_postgres(config)) return {};  // opening it tells
  LATHE_CHECK(check_own_store(config, data));
  if (::access((data / "lathe.db").c_str(), F_OK) == 0) return {};
  if (errno == EACCES)
    return fail(Code::forbidden, fmt::format("this account may not look into {}: run this as the server's", data.string()));
  return fail(Code::not_found,
              fmt::format("there is no store in {}: name the server's data folder with --data", data.string()));
}

/// The server, and what outlives it: jobs and the data plane would go on in a folder that has another name.
Result<void> check_stopped(const fs::path& data) {
  LATHE_TRY(const auto running, running_server(data));
  if (!running && !has_programs(data)) return {};
  if (!running)
    return fail(Code::conflict,
                fmt::format("jobs or the data plane of {} run: end them with `lathe stop --all --data {}`",
                            data.string(), data.string()));
  return fail(Code::conflict, fmt::format("a server (process {}) runs on {}: stop it with `lathe stop --data {}`",
                                          running->pid, data.string(), data.string()));
}

/// The store, for reading, beside a server or without one.
template <class F>
Result<int> with_store(const Config& config, F&& work) {
  const auto data = config.data();
  LATHE_CHECK(check_there(config));
  LATHE_TRY(const auto db, in_postgres(config) ? db::open_postgres_to_read(config.text("store"))
                                               : db::open_sqlite_to_read((data / "lathe.db").string()));
  LATHE_TRY(const auto artifacts, open_artifacts(config, data, true));
  return work(backup::Store{data, *db, *artifacts});
}

Result<int> back_up(const backup::Store& store, const StoreRequest& request) {
  std::error_code ignored;
  if (fs::exists(request.file, ignored))
    return fail(Code::conflict, request.file.string() + " is there already: choose another name, or remove it");
  LATHE_TRY(const auto summary, backup::write_backup(store, request.file, !request.no_artifacts));
  fmt::print("{}: {}\n", request.file.string(), said(summary));
  fmt::print("It holds tokens and keys: keep it where only administrators read.\n");
  return 0;
}

void show(const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < lines.size() && i < kMostShown; ++i) fmt::print("  {}\n", lines[i]);
  if (lines.size() > kMostShown) fmt::print("  ... and {} more\n", lines.size() - kMostShown);
}

Result<int> check(const backup::Store& store) {
  LATHE_TRY(const auto found, backup::verify(store));
  fmt::print("{} blobs and the files of {} model versions were looked at\n", found.blobs, found.versions);
  if (!found.leftovers.empty()) {
    fmt::print("{} leftovers ({}), which `lathe store compact` removes when no server runs:\n", found.leftovers.size(),
               size_text(found.leftover_bytes));
    show(found.leftovers);
  }
  if (found.problems.empty()) {
    fmt::print("the store is sound\n");
    return 0;
  }
  fmt::print("{} problems:\n", found.problems.size());
  show(found.problems);
  return 1;
}

Result<int> compact(const Config& config) {
  const auto data = config.data();
  LATHE_CHECK(check_there(config));
  LATHE_TRY(const auto lock, DataFolder::lock(data));
  const auto file = data / "lathe.db";
  std::error_code error;
  const auto before = fs::file_size(file, error);
  std::uint64_t freed = 0;
  {
    LATHE_TRY(const auto db, open_store(config, data, db::migrations()));
    LATHE_TRY(const auto artifacts, open_artifacts(config, data, false));
    const backup::Store whole{data, *db, *artifacts};
    LATHE_TRY(const auto found, backup::verify(whole));
    // What damaged files or rows name would look like leftovers.
    if (!found.problems.empty())
      return fail(Code::conflict, fmt::format("the store has {} problems, and nothing was removed: `lathe store verify` names "
                                              "them", found.problems.size()));
    LATHE_TRY(freed, backup::remove_leftovers(whole));
  }
  if (in_postgres(config)) {
    fmt::print("leftovers removed: {}; PostgreSQL's own VACUUM looks after its rows\n", size_text(freed));
    return 0;
  }
  LATHE_CHECK(db::compact_sqlite(file.string()));
  const auto after = fs::file_size(file, error);
  fmt::print("the store's file: {} before, {} now; leftovers removed: {}\n", size_text(before), size_text(after),
             size_text(freed));
  return 0;
}

/// A folder is free for a restore when there is nothing in it.
Result<bool> is_free(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) return true;
  if (!fs::is_directory(folder, error)) return fail(Code::invalid, folder.string() + " is not a folder");
  return fs::is_empty(folder, error);
}

/// Everything into a folder beside the wanted one, which takes its place at the end: until then nothing has changed.
Result<void> restore_beside(const Config& config, const fs::path& data, const fs::path& beside, const fs::path& file,
                            int step) {
  LATHE_CHECK(make_folder(beside, ::geteuid() == 0 ? 0711 : 0700));
  std::vector<db::Migration> steps;
  for (const auto& each : db::migrations())
    if (each.number <= step) steps.push_back(each);
  {
    LATHE_TRY(const auto db, open_store(config, beside, steps));
    LATHE_TRY(const auto artifacts, open_artifacts(config, beside, false));
    LATHE_TRY(const auto jobs, jobs::Launcher::make_root(data, beside));
    LATHE_TRY(const auto summary, backup::read_backup({beside, *db, *artifacts}, file, jobs));
    fmt::print("{}: {}\n", data.string(), said(summary));
  }
  LATHE_TRY(const auto upgraded, open_store(config, beside, db::migrations()));
  return {};
}

/// A PostgreSQL database takes a backup only when it holds no store.
Result<void> check_empty(const Config& config) {
  if (!in_postgres(config)) return {};
  const auto there = db::open_postgres_to_read(config.text("store"));
  if (!there && there.error().code == Code::not_found) return {};
  if (!there) return fail(there.error());
  return fail(Code::conflict,
              fmt::format("the database {} holds a store already: name an empty one with --store (`createdb` makes one)",
                          db::shown_place(config.text("store"))));
}

Result<int> restore(const Config& config, const StoreRequest& request) {
  const auto data = config.data();
  LATHE_CHECK(check_stopped(data));
  LATHE_TRY(const bool free, is_free(data));
  if (!free && !request.force)
    return fail(
        Code::conflict,
        fmt::format("{} is not empty: name another folder with --data, or say --force to put it aside", data.string()));
  LATHE_CHECK(check_empty(config));
  LATHE_TRY(const auto checked, backup::check_backup(request.file));
  if (!checked.with_files)
    fmt::print("the backup holds rows only: artifacts, models' files, code and logs are not in it\n");

  const auto beside = fs::path(data.string() + ".restoring-" + random_hex(4));
  auto done = restore_beside(config, data, beside, request.file, checked.schema_step);
  std::error_code error;
  if (done && !free) {
    const auto aside = fs::path(data.string() + ".before-" + std::to_string(millis(now()) / 1000));
    if (::rename(data.c_str(), aside.c_str()) != 0)
      done = fail(errno_error("cannot put aside " + data.string()));
    else
      fmt::print("what was there is in {} now\n", aside.string());
  }
  if (done && ::rename(beside.c_str(), data.c_str()) != 0) done = fail(errno_error("cannot make " + data.string()));
  if (!done) {
    fs::remove_all(beside, error);
    if (in_postgres(config))
      done.error().message += fmt::format("; the database {} may hold a part of it: drop it and make it anew before you "
                                          "try again", db::shown_place(config.text("store")));
    return fail(done.error());
  }
  return 0;
}

Result<int> run(const Config& config, const StoreRequest& request) {
  if (request.verb == "restore") return restore(config, request);
  if (request.verb == "compact") return compact(config);
  return with_store(config, [&](const backup::Store& store) {
    return request.verb == "backup" ? back_up(store, request) : check(store);
  });
}

}  // namespace

int store(const Config& config, const StoreRequest& request) {
  const auto done = run(config, request);
  if (done) return *done;
  fmt::print(stderr, "lathe store {}: {}\n", request.verb, done.error().message);
  return cli::exit_code(done.error().code);
}

}  // namespace lathe::app
