#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace lathe::infer {

/// Where a tensor's bytes lie.
struct RegionPlace {
  std::string region;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// Regions of this machine's POSIX shared memory in which clients leave tensors and take them. They are read and
/// written by system calls and never mapped: a client that makes its memory smaller gets an error, and harms nobody.
/// Thread-safe.
class SharedRegions {
 public:
  struct Region {
    std::string name;
    std::string key;  ///< of shm_open: "/input"
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::shared_ptr<const Fd> file;
  };

  /// Errors: `invalid` — the name is taken, too long or not printable, the key is no name of shared memory, it is
  /// smaller than this; `not_found` — there is no such memory; `exhausted` — there are too many regions.
  Result<void> add(const std::string& name, const std::string& key, std::uint64_t offset, std::uint64_t size);
  /// One that is not there is as good as removed. Who reads it at this moment goes on.
  void remove(std::string_view name);
  void clear();
  std::vector<Region> list() const;
  std::optional<Region> find(std::string_view name) const;

  /// Errors: `invalid` — there is no such region, or the place reaches past its end, or past what is left of the
  /// memory.
  Result<void> read(const RegionPlace& place, char* to) const;
  /// At the beginning of the place. The same errors, and when `bytes` are more than it has.
  Result<void> write(const RegionPlace& place, std::string_view bytes) const;

 private:
  Result<Region> find(const RegionPlace& place) const;

  mutable std::shared_mutex mutex_;
  std::map<std::string, Region, std::less<>> regions_;
};

/// Those of this process.
SharedRegions& shared_regions();

}  // namespace lathe::infer
