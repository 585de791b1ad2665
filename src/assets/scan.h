#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "assets/digest_cache.h"
#include "assets/ignore.h"
#include "assets/tree.h"

namespace lathe::assets {

enum class Links {
  follow,  ///< what a link points at is taken, as if it lay there
  refuse,  ///< a link is an error: the folder belongs to somebody whose rights are less than ours
};

struct Scan {
  Tree tree;
  /// Sockets, pipes and devices, which no snapshot can hold.
  std::vector<std::string> skipped;
};

/// Lists a folder's files with their digests; `cache` spares what was read before. A link that leads back to a folder
/// above itself is left out.
/// Errors: `not_found`; `forbidden`; `invalid` — a refused link, or a name that is not UTF-8; `conflict` — a file
/// changed while it was read.
Result<Scan> scan_folder(const std::filesystem::path& folder, const IgnoreRules& rules, DigestCache& cache,
                         Links links = Links::follow);

/// Everything below the folder, ignore files notwithstanding: for data.
Result<Scan> scan_data(const std::filesystem::path& folder, DigestCache& cache, Links links);

}  // namespace lathe::assets
