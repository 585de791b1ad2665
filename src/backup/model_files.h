#pragma once

#include <string>
#include <vector>

#include "backup/backup.h"

/// Whether a model version still has its files.
namespace lathe::backup {

struct ModelVersion {
  std::string name;  ///< "churn:3"
  std::string path;  ///< below the artifacts: a folder, or a file
  std::string tree;  ///< the digest of its list of files; empty: nobody asked for them yet
};

/// Sentences on what is missing or has another size. A version whose list is known is compared with that; of another
/// one the files that its MLmodel names are looked for. Errors: `unavailable` — the artifacts' place is away.
Result<std::vector<std::string>> missing_files(const Store& store, const ModelVersion& version);

}  // namespace lathe::backup
