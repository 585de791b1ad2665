#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "db/db.h"

namespace lathe::assets {

/// Remembers the SHA-256 of files by device, inode, size and times, so that a folder of 200 GB is read once. A file of
/// its own: it may be deleted at any time. Thread-safe.
class DigestCache {
 public:
  /// Opens or makes the cache. Errors: as open_sqlite.
  static Result<std::unique_ptr<DigestCache>> open(const std::filesystem::path& file);
  ~DigestCache();

  struct Known {
    std::string sha256;
    std::int64_t size = 0;
    bool executable = false;
  };
  /// The digest of a regular file, from memory or by reading it. `follow_link`: whether the last part of `path` may be a
  /// symbolic link. Errors: `not_found`, `forbidden`, `invalid` for what is not a regular file, `conflict` when it
  /// changed while it was read.
  Result<Known> digest_of(const std::filesystem::path& path, bool follow_link);

  /// Keeps what was learnt since the last flush; else it is kept every few hundred files and at the end.
  void flush();

 private:
  struct Entry {
    struct stat file;
    std::string sha256;
  };
  explicit DigestCache(std::unique_ptr<db::Database> store) : store_(std::move(store)) {}
  std::optional<std::string> find(const struct stat& file);
  void remember(const struct stat& file, const std::string& sha256);

  std::unique_ptr<db::Database> store_;
  std::mutex mutex_;
  std::vector<Entry> fresh_;
};

}  // namespace lathe::assets
