#include "jobs/disk_room.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace lathe::jobs {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::string shown(std::uint64_t bytes) {
  const auto mib = static_cast<double>(bytes) / static_cast<double>(kMiB);
  return mib >= 1024 ? fmt::format("{:.1f} GiB", mib / 1024) : fmt::format("{:.1f} MiB", mib);
}

}  // namespace

Result<LowWater> parse_low_water(std::string_view text) {
  const auto wrong = [&] {
    return fail(Code::invalid,
                fmt::format("must be auto, a size such as 2GiB or 500MiB, a share such as 5%, or 0, not \"{}\"", text));
  };
  if (text == "auto") return LowWater{std::uint64_t{1} << 30, 0.05};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc{} || !(value >= 0) || value > 1e6) return wrong();
  if (unit == "%" && value <= 100) return LowWater{~std::uint64_t{0}, value / 100};
  if (unit == "MiB") return LowWater{static_cast<std::uint64_t>(value * static_cast<double>(kMiB)), 1};
  if (unit == "GiB") return LowWater{static_cast<std::uint64_t>(value * 1024 * static_cast<double>(kMiB)), 1};
  if (unit.empty() && value == 0) return LowWater{0, 1};
  return wrong();
}

std::optional<std::string> full_disk(const std::filesystem::path& folder) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) return std::nullopt;
  const auto free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  const auto size = std::uint64_t{disk.f_blocks} * disk.f_frsize;
  if (free >= std::min(kMiB, size / 100)) return std::nullopt;
  return fmt::format("the disk of {} has {} of {} free", folder.string(), shown(free), shown(size));
}

std::optional<std::string> DiskRoom::shortage() const {
  for (const auto& folder : folders_) {
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) != 0) continue;
    const auto free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    const auto size = static_cast<double>(disk.f_blocks) * static_cast<double>(disk.f_frsize);
    const auto wanted = std::min(mark_.bytes, static_cast<std::uint64_t>(size * mark_.share));
    if (free < wanted)
      return fmt::format("the disk of {} has {} free, and new jobs wait below {} (disk_low_water): make room there",
                         folder.string(), shown(free), shown(wanted));
  }
  return std::nullopt;
}

}  // namespace lathe::jobs
