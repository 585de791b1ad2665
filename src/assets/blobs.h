#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assets/tree.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/result.h"

namespace lathe::assets {

/// Bytes by their SHA-256, and folders (trees) made of them. A blob is written once and never changes; writing the same
/// content again is free. Thread-safe; blocks on files.
class BlobStore {
 public:
  /// Keeps blobs in `data`/blobs and views of folders in `data`/trees; clears away what a crash left half-written.
  static Result<std::unique_ptr<BlobStore>> open(const std::filesystem::path& data);

  bool has(const std::string& sha256) const;
  /// Those that are not here, in their order.
  std::vector<std::string> missing(const std::vector<std::string>& digests) const;
  /// Where the bytes lie. Only for a blob that is here; read-only.
  std::filesystem::path path_of(const std::string& sha256) const;

  /// A blob being written: nothing of it stays behind unless `finish` succeeds.
  class Writer {
   public:
    Writer(Writer&&) noexcept;
    Writer& operator=(Writer&&) = delete;
    ~Writer();
    Result<void> write(std::string_view piece);
    /// Makes the blob durable and answers its digest. Errors: `invalid` — `expected` is given and is not the digest.
    Result<std::string> finish(const std::optional<std::string>& expected = std::nullopt);

   private:
    friend class BlobStore;
    Writer(const BlobStore& store, std::filesystem::path file, Fd fd);
    const BlobStore* store_;
    std::filesystem::path file_;
    Fd fd_;
    Sha256 digest_;
  };
  Result<Writer> start() const;
  Result<std::string> put(std::string_view bytes) const;

  /// Keeps a folder's list, which is itself a blob under the folder's digest.
  /// Errors: `conflict` while blobs are missing (the first few are named); `invalid` — a size is not the blob's.
  Result<std::string> put_tree(const Tree& tree) const;
  /// Errors: `not_found`; `invalid` — that blob is not a folder's list.
  Result<Tree> tree(const std::string& digest) const;

  /// Takes in what lies in a folder of this machine, whose list is `tree`; what is here already is not read. `link`: the
  /// files are never changed in place, and the list was made just now, so that they may become blobs by a hard link.
  /// Errors: `conflict` — a file changed meanwhile.
  Result<std::string> take_folder(const std::filesystem::path& folder, const Tree& tree, bool link = false) const;

  /// Makes `folder` with the tree's files, read-only, as hard links where that is possible.
  Result<void> lay_out(const Tree& tree, const std::filesystem::path& folder) const;

  /// A read-only folder with the tree's files, made of hard links at the first call and shared by all: for inputs.
  /// Whoever knows the digest may read it, since the folder above cannot be listed.
  Result<std::filesystem::path> view(const std::string& digest) const;

  /// Whom the files of a copy belong to.
  struct Owner {
    uid_t uid;
    gid_t gid;
  };
  /// Copies the tree's files into `folder` (made when missing), writable: for a job's code.
  Result<void> copy_out(const std::string& digest, const std::filesystem::path& folder,
                        const std::optional<Owner>& owner = std::nullopt) const;

 private:
  explicit BlobStore(std::filesystem::path data) : data_(std::move(data)) {}
  Result<void> keep(const std::filesystem::path& file, const std::string& sha256) const;

  std::filesystem::path data_;
};

/// Copies a file's bytes (sharing them where the file system can), with this mode from the first byte on.
Result<void> copy_file(const std::filesystem::path& from, const std::filesystem::path& to, mode_t mode,
                       const std::optional<BlobStore::Owner>& owner = std::nullopt);

}  // namespace lathe::assets
