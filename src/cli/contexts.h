#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace lathe::cli {

/// A server that `lathe login` stored.
struct Context {
  std::string url;
  std::string token;
  std::string user;
  std::string certificate_sha256;  ///< pinned; empty: the system's trust, or plain http
};

/// The contexts file, ~/.config/lathe/contexts.json (below XDG_CONFIG_HOME), readable by its owner only.
struct Contexts {
  std::string current;  ///< empty: the local server
  std::map<std::string, Context> all;

  static std::filesystem::path file();
  /// No file is no contexts. Errors: `invalid` for a broken file, else as read_file.
  static Result<Contexts> load();
  Result<void> save() const;

  /// Errors: `not_found`, with the nearest names.
  Result<Context> find(const std::string& name) const;
};

/// $VARIABLE/lathe, else ~/FALLBACK/lathe.
std::filesystem::path user_folder(const char* variable, const char* fallback);

}  // namespace lathe::cli
