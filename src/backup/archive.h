#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"

/// The file that a backup is: a tar of zstd, which `tar xf` opens too. Its last entries are SHA256SUMS, as `sha256sum
/// -c` reads it, and END, the digest of that: an archive without END is not whole.
namespace lathe::backup {

/// Writes beside `file` and renames over it at the end: there is a whole archive or none. Mode 0600: it holds secrets.
class ArchiveWriter {
 public:
  static Result<std::unique_ptr<ArchiveWriter>> open(const std::filesystem::path& file);
  ~ArchiveWriter();

  Result<void> add(const std::string& name, std::string_view content);
  /// An entry of `size` bytes, which `read` appends piece by piece; it appends nothing at the end.
  /// Errors: `conflict` — there were not that many.
  Result<void> add(const std::string& name, std::uint64_t size, const std::function<Result<void>(std::string&)>& read);
  Result<void> finish();

  std::int64_t entries() const { return static_cast<std::int64_t>(digests_.size()); }

 private:
  struct State;
  ArchiveWriter(std::filesystem::path file, std::filesystem::path beside);
  Result<void> begin(const std::string& name, std::uint64_t size);
  Result<void> write(std::string_view piece);

  std::filesystem::path file_;
  std::filesystem::path beside_;
  std::unique_ptr<State> state_;
  std::map<std::string, std::string> digests_;  ///< by name
};

/// Reads an archive from its start. Errors of all: `invalid` — it is damaged, not whole, or no archive of Lathe's: the
/// message names it.
class ArchiveReader {
 public:
  static Result<std::unique_ptr<ArchiveReader>> open(const std::filesystem::path& file);
  ~ArchiveReader();

  /// The next entry's name; nullopt: that was all, and all digests are right. What is left of the entry before is read.
  Result<std::optional<std::string>> next();
  /// Appends the next piece of the entry; false: it has ended.
  Result<bool> read(std::string& out);
  /// The rest of the entry.
  Result<std::string> read_all();

 private:
  struct State;
  explicit ArchiveReader(std::filesystem::path file);
  Error damaged(const std::string& why) const;
  Result<void> check_end();

  std::filesystem::path file_;
  std::unique_ptr<State> state_;
  std::map<std::string, std::string> digests_;
};

}  // namespace lathe::backup
