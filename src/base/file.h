#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe {

/// A file descriptor that closes itself. `get()` is -1 when empty.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd();
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  int get() const { return fd_; }
  int release();
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// The error for `errno`, with what was being done: "cannot write /a/b: No space left on device".
/// ENOSPC and EDQUOT are `exhausted`, ENOENT `not_found`, EACCES and EPERM `forbidden`, the rest `internal`.
Error errno_error(const std::string& what);

/// The whole file. Errors: as `errno_error`; `exhausted` when it is larger than `limit_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit_bytes = std::size_t{64} << 20);

/// Writes beside `path`, syncs, renames over it and syncs the folder: after a crash the old or the new content is there.
/// `mode` is the file's permission from its first byte on. Errors: as `errno_error`.
Result<void> write_file(const std::filesystem::path& path, std::string_view content, int mode = 0600);

/// Writes all of `bytes`, also after interruptions. Errors: as `errno_error`.
Result<void> write_all(int fd, std::string_view bytes, const std::string& name);

/// Makes a folder and its parents; the folder itself gets `mode`. Errors: as `errno_error`.
Result<void> make_folder(const std::filesystem::path& path, int mode = 0700);

/// Opens `relative` below the folder `base`, never outside it, whatever links and dots it holds (openat2 with
/// RESOLVE_BENEATH). `flags` as for open(2). Errors: `invalid` for a path that leads outside, else as `errno_error`.
Result<Fd> open_beneath(const std::filesystem::path& base, std::string_view relative, int flags, int mode = 0600);

}  // namespace lathe
