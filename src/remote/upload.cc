#include "remote/upload.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace lathe::remote {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{4} << 20;

}  // namespace

bool Upload::open(const std::string& path, std::string name) {
  close();
  struct stat found {};
  fd_ = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd_ >= 0 && ::fstat(fd_, &found) == 0 && S_ISREG(found.st_mode)) {
    name_ = std::move(name);
    version_ = version_of(found);
    have = 0;
    return true;
  }
  close();
  return false;
}

void Upload::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool Upload::read(std::string& piece) const {
  struct stat found {};
  piece.resize(static_cast<std::size_t>(std::min(kPiece, version_.size - std::min(have, version_.size))));
  const auto got = ::pread(fd_, piece.data(), piece.size(), static_cast<off_t>(have));
  // Looked at after the reading: the last piece is sent of a file alone that stayed as it was.
  return got == static_cast<ssize_t>(piece.size()) && ::fstat(fd_, &found) == 0 && version_of(found) == version_;
}

}  // namespace lathe::remote
