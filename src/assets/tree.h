#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "json/fields.h"

namespace lathe::assets {

/// One file of a folder.
struct TreeFile {
  std::string path;    ///< relative, with '/'
  std::string sha256;  ///< of its content, 64 hex digits
  std::int64_t size = 0;
  bool executable = false;
};

/// A folder by content: its files in the order of their paths. Empty folders are not kept.
struct Tree {
  std::vector<TreeFile> files;

  std::int64_t size_bytes() const;
  /// The list as JSON, the same text for the same folder everywhere.
  std::string canonical() const;
  /// SHA-256 of `canonical()`: the folder's digest.
  std::string digest() const;
};

/// Sorts and checks: paths are relative, without "." and "..", each there once, and none is a file and a folder at once.
/// Errors: `invalid`, naming the file.
Result<Tree> make_tree(std::vector<TreeFile> files);

/// Reads `canonical()` or the body {"files": [...]} back, checked as in make_tree. Errors: `invalid`.
Result<Tree> parse_tree(const json::Value& value);

/// Whether the text is a digest: 64 lower-case hex digits.
bool is_digest(std::string_view text);

}  // namespace lathe::assets

template <>
struct lathe::json::Fields<lathe::assets::TreeFile> {
  static constexpr std::string_view name = "TreeFile";
  static constexpr auto list = std::tuple{
      field("path", &assets::TreeFile::path, "relative, with '/'"),
      field("sha256", &assets::TreeFile::sha256, "digest of the content"),
      field("size", &assets::TreeFile::size, "bytes"), field("executable", &assets::TreeFile::executable)};
};
template <>
struct lathe::json::Fields<lathe::assets::Tree> {
  static constexpr std::string_view name = "Tree";
  static constexpr auto list = std::tuple{field("files", &assets::Tree::files)};
};
