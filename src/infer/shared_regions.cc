#include "infer/shared_regions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <mutex>

#include "base/text.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostRegions = 1024;
constexpr std::size_t kLongestName = 255;

std::string in_quotes(std::string_view name) {
  return "\"" + printable(name) + "\"";
}

/// "/NAME", as shm_open wants it.
Result<std::string> read_key(std::string_view key) {
  auto name = key;
  if (name.starts_with('/')) name.remove_prefix(1);
  const bool good = !name.empty() && name.size() <= kLongestName && name != "." && name != ".." &&
                    name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
  if (!good)
    return fail(Code::invalid,
                in_quotes(key) + " is no name of shared memory: it is \"/NAME\" without further slashes");
  return "/" + std::string(name);
}

std::uint64_t size_of(const Fd& file) {
  struct stat seen {};
  const bool good = ::fstat(file.get(), &seen) == 0 && S_ISREG(seen.st_mode);
  return good ? static_cast<std::uint64_t>(seen.st_size) : 0;
}

tl::unexpected<Error> shrunk(const std::string& name) {
  return fail(Code::invalid,
              "the memory of region " + in_quotes(name) + " is smaller than it was when it was registered");
}

/// All of `size` bytes by `call`, which is pread or pwrite.
template <class Call, class Bytes>
bool move_all(Call call, int file, Bytes* bytes, std::uint64_t size, std::uint64_t offset) {
  while (size > 0) {
    const auto count = call(file, bytes, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes += count;
    size -= static_cast<std::uint64_t>(count);
    offset += static_cast<std::uint64_t>(count);
  }
  return true;
}

}  // namespace

Result<void> SharedRegions::add(const std::string& name, const std::string& key, std::uint64_t offset,
                                std::uint64_t size) {
  if (name.empty() || name.size() > kLongestName || printable(name) != name ||
      name.find_first_of("\n\t") != std::string::npos)
    return fail(Code::invalid,
                "a region's name has 1 to 255 bytes of printable text, and " + in_quotes(name) + " has not");
  LATHE_TRY(const auto path, read_key(key));
  if (size == 0) return fail(Code::invalid, "region " + in_quotes(name) + ": byte_size must be above 0");
  auto file = std::make_shared<const Fd>(::shm_open(path.c_str(), O_RDWR, 0));
  if (!*file && errno == EACCES) file = std::make_shared<const Fd>(::shm_open(path.c_str(), O_RDONLY, 0));
  if (!*file)
    return fail(errno == ENOENT ? Code::not_found : Code::invalid, "the shared memory " + in_quotes(key) +
                                                                       " cannot be opened: " + std::strerror(errno) +
                                                                       "; a client makes it before it registers it");
  const auto there = size_of(*file);
  if (offset > there || size > there - offset)
    return fail(Code::invalid, "region " + in_quotes(name) + ": offset and byte_size reach past the end of " +
                                   in_quotes(key) + ", which has " + std::to_string(there) + " bytes");
  const std::lock_guard lock(mutex_);
  if (regions_.size() >= kMostRegions) return fail(Code::exhausted, "there are 1024 regions already: unregister some");
  if (!regions_.try_emplace(name, Region{name, path, offset, size, std::move(file)}).second)
    return fail(Code::invalid, "there is a region " + in_quotes(name) + " already: unregister it first");
  return {};
}

void SharedRegions::remove(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (const auto found = regions_.find(name); found != regions_.end()) regions_.erase(found);
}

void SharedRegions::clear() {
  const std::lock_guard lock(mutex_);
  regions_.clear();
}

std::vector<SharedRegions::Region> SharedRegions::list() const {
  const std::shared_lock lock(mutex_);
  std::vector<Region> out;
  for (const auto& [name, region] : regions_) out.push_back(region);
  return out;
}

std::optional<SharedRegions::Region> SharedRegions::find(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto found = regions_.find(name);
  return found == regions_.end() ? std::nullopt : std::optional(found->second);
}

Result<SharedRegions::Region> SharedRegions::find(const RegionPlace& place) const {
  auto region = find(std::string_view(place.region));
  if (!region)
    return fail(Code::invalid, "there is no region " + in_quotes(place.region) +
                                   " of shared memory: it is registered with the operator's key");
  if (place.offset > region->size || place.size > region->size - place.offset)
    return fail(Code::invalid, "region " + in_quotes(place.region) + " has " + std::to_string(region->size) +
                                   " bytes, but " + std::to_string(place.size) + " at " + std::to_string(place.offset) +
                                   " are asked for");
  // A write must not make it longer again.
  const auto there = size_of(*region->file);
  if (region->offset + region->size > there && region->offset + place.offset + place.size > there)
    return shrunk(place.region);
  return std::move(*region);
}

Result<void> SharedRegions::read(const RegionPlace& place, char* to) const {
  LATHE_TRY(const auto region, find(place));
  if (!move_all(::pread, region.file->get(), to, place.size, region.offset + place.offset)) return shrunk(place.region);
  return {};
}

Result<void> SharedRegions::write(const RegionPlace& place, std::string_view bytes) const {
  LATHE_TRY(const auto region, find(place));
  if (bytes.size() > place.size)
    return fail(Code::invalid, std::to_string(bytes.size()) + " bytes do not fit into " + std::to_string(place.size) +
                                   " of region " + in_quotes(place.region));
  if (!move_all(::pwrite, region.file->get(), bytes.data(), bytes.size(), region.offset + place.offset))
    return fail(Code::invalid, "region " + in_quotes(place.region) + " cannot be written: " + std::strerror(errno));
  return {};
}

SharedRegions& shared_regions() {
  static SharedRegions regions;
  return regions;
}

}  // namespace lathe::infer
