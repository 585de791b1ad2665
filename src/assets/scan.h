#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "assets/digest_cache.h"
#include "assets/ignore.h"
#include "assets/tree.h"

namespace lathe::assets {

enum class Reach {
  everything,      ///< what a link points at is taken, as if it lay there
  no_links,        ///< a link is an error: for what jobs wrote
  world_readable,  ///< a link, and what not everybody may read, is an error: for callers who have less rights than we
};

struct Scan {
  Tree tree;
  /// Sockets, pipes and devices, which no snapshot can hold.
  std::vector<std::string> skipped;
};

/// Lists a folder's files with their digests; `cache` spares what was read before. A link that leads back to a folder
/// above itself is left out.
/// Errors: `not_found`; `forbidden` — also what is out of `reach`; `invalid` — a name that is not UTF-8; `conflict` — a file
/// changed while it was read.
Result<Scan> scan_folder(const std::filesystem::path& folder, const IgnoreRules& rules, DigestCache& cache,
                         Reach reach = Reach::everything);

/// Everything below the folder, ignore files notwithstanding: for data.
Result<Scan> scan_data(const std::filesystem::path& folder, DigestCache& cache, Reach reach);

}  // namespace lathe::assets
