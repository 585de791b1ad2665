#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::jobs {

/// How much of a disk has to be free before a job may start.
struct LowWater {
  std::uint64_t bytes = 0;
  double share = 1;  ///< of the disk: the smaller of the two counts
};

/// "auto" (1 GiB, or a twentieth of a smaller disk), "2GiB", "500MiB", "5%", "0". Errors: `invalid`.
Result<LowWater> parse_low_water(std::string_view text);

/// "the disk of /data has 0.1 of 24.0 MiB free", when it is full (below 1 MiB, or 1 % of a small one); else nothing.
std::optional<std::string> full_disk(const std::filesystem::path& folder);

/// Whether the disks that hold `folders` have room for new jobs. Thread-safe.
class DiskRoom {
 public:
  DiskRoom(std::vector<std::filesystem::path> folders, LowWater mark) : folders_(std::move(folders)), mark_(mark) {}
  /// What a new job waits for; nothing when there is room.
  std::optional<std::string> shortage() const;

 private:
  std::vector<std::filesystem::path> folders_;
  LowWater mark_;
};

}  // namespace lathe::jobs
