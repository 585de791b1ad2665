#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "db/db.h"

/// What nodes of the inference cluster have kept of predictions (`data_collector`) comes to where the server's own data
/// plane keeps it.
namespace lathe::serving {

struct CapturedPiece {
  std::string path;    ///< of the file: ENDPOINT/DEPLOYMENT/COLLECTION/YYYY/MM/DD/HH/NAME.jsonl
  std::string sha256;  ///< of all of it
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  ///< of the piece
  std::string_view bytes;
};

/// Where the server's data plane keeps what it captures, below the server's data folder.
std::filesystem::path collected_folder(const std::filesystem::path& data);

/// Thread-safe; blocks.
class CapturedFiles {
 public:
  /// `folder`: of the data assets.
  CapturedFiles(db::Database& db, std::filesystem::path folder) : db_(db), folder_(std::move(folder)) {}

  /// Takes a piece that goes on where the file ends by now. Answers how much of the file is here: all of it, once it is
  /// whole, durable, and where readers look; less than before, where what came does not have the digest. A piece that
  /// was sent before changes nothing. Errors: `invalid`; `not_found` — nothing is captured there; `conflict` — another
  /// file has that name; `exhausted` — the disk is full.
  Result<std::uint64_t> take(const std::string& node, const CapturedPiece& piece);
  /// Removes what is not whole of a node's files.
  void forget(const std::string& node);

 private:
  void forget_locked(const std::string& node) const;
  Result<std::uint64_t> append(const std::filesystem::path& part, const CapturedPiece& piece);

  db::Database& db_;
  const std::filesystem::path folder_;
  std::mutex mutex_;
};

}  // namespace lathe::serving
