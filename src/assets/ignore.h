#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::assets {

/// What a snapshot leaves out, in the syntax of .gitignore: comments, `!` negation, anchored patterns, `**`, and a
/// trailing `/` for folders only. The last rule that matches decides. `.git` and `__pycache__` are left out unless a
/// rule takes them back in.
class IgnoreRules {
 public:
  /// Only the rules that always hold.
  IgnoreRules();

  /// Of a folder's own .amlignore or, without one, its .gitignore; both may be missing.
  /// Errors: as read_file.
  static Result<IgnoreRules> of_folder(const std::filesystem::path& folder);

  /// Adds the lines of one ignore file.
  void add(std::string_view text);

  /// Whether the entry is left out; `path` is relative, with '/'. What lies in an ignored folder is ignored too: the
  /// caller does not descend.
  bool ignored(std::string_view path, bool is_folder) const;

 private:
  struct Rule {
    std::vector<std::string> parts;  ///< pattern per path segment; "**" stands for any number of them
    bool negated = false;
    bool folder_only = false;
  };
  void add_line(std::string_view line);

  std::vector<Rule> rules_;
};

}  // namespace lathe::assets
