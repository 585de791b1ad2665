#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace lathe::app {

/// The data folder, locked: no other server can use it. The lock goes with the object (or the process).
class DataFolder {
 public:
  /// Makes the folder where there is none. Errors: `conflict` — another server has it, named by its process id.
  static Result<DataFolder> lock(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }

 private:
  DataFolder(std::filesystem::path path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::filesystem::path path_;
  Fd lock_;
};

/// What a running server tells other programs of this machine: DATA/server.json.
struct Announcement {
  int pid = 0;
  std::string url;
  std::optional<std::string> infer;
  std::optional<std::string> certificate_sha256;  ///< of our own certificate, for clients to pin
};
Result<void> announce(const std::filesystem::path& data, const Announcement& what);
/// Notes the folder in the user's configuration (~/.config/lathe/last-data), where the command line looks when no server
/// runs on the default folder: so that `lathe serve --data X` needs no more flags afterwards.
void note_last_data(const std::filesystem::path& data, const char* (*environment)(const char*));
/// The announcement of the server that holds the lock now; nullopt: none runs.
Result<std::optional<Announcement>> running_server(const std::filesystem::path& data);

}  // namespace lathe::app
