#pragma once

#include <memory>

#include "app/config.h"
#include "db/db.h"
#include "storage/storage.h"

namespace lathe::app {

/// `lathe serve`: runs until SIGTERM or SIGINT. Prints `ready ...` to stdout when it can answer. Returns the exit code.
int serve(const Config& config);

/// `lathe stop`: ends the server of `data`; with `all`, then every job and the data plane too. Returns the exit code.
int stop(const std::filesystem::path& data, bool all);

/// Whether jobs or the data plane of `data` run, with a server or without one.
bool has_programs(const std::filesystem::path& data);

/// `lathe store backup|restore|verify|compact`. Returns the exit code.
struct StoreRequest {
  std::string verb;
  std::filesystem::path file;  ///< of backup and restore
  bool no_artifacts = false;
  bool force = false;
};
int store(const Config& config, const StoreRequest& request);

/// The store that the settings name, for a server on `data`, with these steps of its schema.
Result<std::unique_ptr<db::Database>> open_store(const Config& config, const std::filesystem::path& data,
                                                 const std::vector<db::Migration>& steps);

/// A data folder whose records are in PostgreSQL is no folder for SQLite: else its files would look like nobody's.
/// Errors: `conflict`.
Result<void> check_own_store(const Config& config, const std::filesystem::path& data);

/// The place of artifacts that the settings name, for a server on `data`; `to_read`: beside one.
Result<std::unique_ptr<storage::Storage>> open_artifacts(const Config& config, const std::filesystem::path& data, bool to_read);

}  // namespace lathe::app
