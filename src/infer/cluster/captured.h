#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

/// What a node has captured of predictions goes to its server: files that the capture has closed, one after the other,
/// each in pieces, and each is removed here when the server has all of it on its disk. A piece that is sent twice does
/// no harm, and one that was sent before a connection broke is not sent again.
namespace lathe::infer {

struct CapturedFile {
  std::string path;  ///< below the folder
  std::string sha256;
  std::uint64_t size = 0;
};

/// For one thread.
class HandOver {
 public:
  /// Sends the piece that begins at `offset`. Answers how much of the file the server has. Errors: `invalid` — it will
  /// not take this file; others — it may later.
  using Send =
      std::function<Result<std::uint64_t>(const CapturedFile& file, std::uint64_t offset, std::string_view piece)>;

  HandOver(std::filesystem::path folder, Send send) : folder_(std::move(folder)), send_(std::move(send)) {}

  /// Hands over what there is, until `stop` says so. Files that the server does not take stay, and are offered again
  /// ten minutes later. Errors: as `send`'s.
  Result<void> run(const std::function<bool()>& stop);

 private:
  using Clock = std::chrono::steady_clock;

  Result<void> hand_over(const std::filesystem::path& path, const std::function<bool()>& stop);
  void remove(const std::filesystem::path& path) const;

  const std::filesystem::path folder_;
  const Send send_;
  std::map<std::filesystem::path, Clock::time_point> refused_;  ///< and when to offer them again
};

}  // namespace lathe::infer
