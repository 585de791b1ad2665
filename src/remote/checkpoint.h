#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace lathe::remote {

/// A file as it was when it was looked at. Another one, or another content, differs.
struct Version {
  std::uint64_t size = 0;
  std::int64_t changed_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const Version&) const = default;
};
Version version_of(const struct stat& found);

/// Which files of a job's checkpoint folder the server does not have as they are.
class Checkpoint {
 public:
  Checkpoint() = default;
  explicit Checkpoint(std::string folder) : folder_(std::move(folder)) {}
  explicit operator bool() const { return !folder_.empty(); }

  /// The server has what is here now: it came from there.
  void begin();
  /// Looks through the folder. `all`: also files that were written to in the last second.
  void look(bool all);
  /// One that is to be sent, or that is gone here and has to go there; nullopt: none is left of the last look.
  struct Change {
    std::string path;  ///< below the folder
    std::optional<Version> version;
  };
  std::optional<Change> next();
  /// It was sent, or the server does not want it as it is.
  void settle(const Change& change);

  const std::string& folder() const { return folder_; }

 private:
  using Files = std::map<std::string, Version>;
  static void find(const std::string& folder, const std::string& below, Files& out);

  std::string folder_;
  Files there_;  ///< what the server has
  std::vector<Change> changes_;
};

}  // namespace lathe::remote
