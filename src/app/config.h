#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

/// The server's settings, and where each value came from.
namespace lathe::app {

/// One setting: its name in the file ("infer_port"), as a flag ("--infer-port") and in the environment
/// ("LATHE_INFER_PORT") follow from `name`.
struct Setting {
  std::string_view name;
  std::string_view fallback;
  std::string_view doc;
};

/// All settings of `lathe serve`, in the order in which help shows them.
const std::vector<Setting>& settings();

/// The value of every setting, as text, with its origin. Flags > environment > file > default.
class Config {
 public:
  /// `flags`: what the command line gave, by name; "config" in it names the file. `environment`: a variable's value or
  /// null. Errors: `invalid` — an unknown setting in the file (with its line), a value that cannot be; `not_found`.
  static Result<Config> load(const std::map<std::string, std::string>& flags, const char* (*environment)(const char*));

  const std::string& text(std::string_view name) const;
  std::string shown(std::string_view name) const;  ///< the same for people to see: without a password
  std::uint16_t port(std::string_view name) const;  ///< checked at load
  bool flag(std::string_view name) const;           ///< checked at load
  std::chrono::seconds interval(std::string_view name) const;  ///< checked at load; zero for "never"
  std::vector<std::string> list(std::string_view name) const;  ///< comma-separated
  /// "flag --port", "environment LATHE_PORT", "file /etc/lathe.yml", "default".
  const std::string& origin(std::string_view name) const;

  /// The data folder, absolute.
  std::filesystem::path data() const;

 private:
  struct Value {
    std::string text;
    std::string origin;
  };
  std::map<std::string, Value, std::less<>> values_;
};

/// $XDG_DATA_HOME/lathe, else ~/.local/share/lathe.
std::filesystem::path default_data_folder(const char* (*environment)(const char*));

}  // namespace lathe::app
