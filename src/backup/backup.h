#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "db/db.h"
#include "storage/storage.h"

/// A store as a whole: kept in one file, brought back from it, checked, and written small.
namespace lathe::backup {

/// A store, opened for reading or by nobody else.
struct Store {
  std::filesystem::path data;
  db::Database& db;
  storage::Storage& artifacts;
};

struct Summary {
  std::int64_t rows = 0;
  std::int64_t files = 0;
  std::uint64_t file_bytes = 0;
  std::string made_at;  ///< the moment that the rows show
  int schema_step = 0;
  bool with_files = true;
};

/// Writes the store to `file`: the rows of one moment, and, with `with_files`, what they name: artifacts, the bytes of
/// models, data and code, and what jobs left. A server may run on it meanwhile; it removes nothing for good while this
/// runs. Errors: `exhausted` — the disk is full; `conflict` — a file changed while it was read.
Result<Summary> write_backup(const Store& store, const std::filesystem::path& file, bool with_files);

/// Reads the whole archive and checks every digest. Errors: `invalid` — it is damaged, or made by a newer Lathe.
Result<Summary> check_backup(const std::filesystem::path& file);

/// Brings the rows and files of `file`, which was checked, into an empty store: `db` has the archive's schema step, and
/// nothing but what its migrations made. Jobs that had not ended are failed, with the reason. `jobs`: the folder of all
/// jobs.
Result<Summary> read_backup(const Store& store, const std::filesystem::path& file, const std::filesystem::path& jobs);

/// What a look at a whole store found.
struct Findings {
  std::vector<std::string> problems;   ///< sentences: something is lost or wrong
  std::vector<std::string> leftovers;  ///< files that no row names, as places below the artifacts or the data folder
  std::uint64_t leftover_bytes = 0;
  std::int64_t blobs = 0;     ///< that were read and compared with their digests
  std::int64_t versions = 0;  ///< of models, whose files were looked for
};
/// Beside a running server too. Reads every blob.
Result<Findings> verify(const Store& store);

/// Removes the leftovers. For a store that nobody else has open. Answers the bytes that came back.
Result<std::uint64_t> remove_leftovers(const Store& store);

}  // namespace lathe::backup
