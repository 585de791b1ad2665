#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "http/http.h"

/// Artifact bytes in a folder. Whatever a path holds, nothing outside the folder is touched.
namespace lathe::storage {

struct Entry {
  std::string name;  ///< the last part of its path
  bool folder = false;
  std::uint64_t size = 0;
};

/// Refuses what no honest client sends as the path of an artifact: "..", absolute and drive paths, '#', backslashes and
/// control characters, also behind any number of percent-encodings. Errors: `invalid`.
Result<void> check_path(std::string_view path);

/// A folder of artifacts, addressed by relative paths. Thread-safe.
class Storage {
 public:
  /// Makes the folder when there is none, and clears away uploads that a crash broke off.
  static Result<std::unique_ptr<Storage>> open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }

  /// Takes a file's bytes. It appears, whole and on disk, when the sink's `finish` has answered `{}`; without that
  /// nothing stays behind. Errors: `invalid` — a bad path; `exhausted` — the disk is full.
  Result<std::unique_ptr<http::Sink>> upload(const std::string& path);

  /// The file as an attachment, or the part of it that a Range header ("bytes=0-99") names.
  /// Errors: `not_found`; `invalid` — a bad path.
  Result<http::Response> download(const std::string& path, std::optional<std::string_view> range);

  /// What a folder holds, by name. A file or nothing at all gives an empty list. Errors: `invalid` — a bad path.
  Result<std::vector<Entry>> list(const std::string& path);

  /// A file, or a folder with all it holds. Errors: `not_found`; `invalid` — a bad path.
  Result<void> remove(const std::string& path);

 private:
  explicit Storage(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
};

}  // namespace lathe::storage
