#pragma once

#include <string>

#include "assets/blobs.h"
#include "storage/storage.h"

/// Models' files between the artifacts' place and the blobs.
namespace lathe::assets {

/// Takes a folder's files, or the one file, in as blobs; answers them as a tree. A file alone has its own name in it.
/// Errors: `not_found`, `unavailable`; `conflict` — a file changed meanwhile.
Result<Tree> fetch_artifacts(storage::Storage& artifacts, const std::string& path, const BlobStore& blobs);

/// Lays a tree's files out below `path`: by links where the artifacts lie on this machine. All of them or none.
/// Errors: `unavailable`, `exhausted`, `invalid` — a name that no artifact can have.
Result<void> lay_out_artifacts(storage::Storage& artifacts, const std::string& path, const BlobStore& blobs,
                               const Tree& tree);

}  // namespace lathe::assets
