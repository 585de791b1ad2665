#include "remote/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "shim/log.h"

namespace lathe::remote {
namespace {

/// An open part of the log: the growing one, or one that was put aside.
struct Part {
  int fd = -1;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  Part() = default;
  Part(const Part&) = delete;
  ~Part() { close(); }
  void close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  bool open(const std::string& path, std::uint64_t at) {
    struct stat found {};
    close();
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ::fstat(fd, &found) != 0) return false;
    begin = at;
    end = at + static_cast<std::uint64_t>(found.st_size);
    return true;
  }
};

}  // namespace

std::string LogTail::read(std::size_t limit) {
  Part aside;
  Part growing;
  for (int tries = 0;; ++tries) {
    aside.close();
    growing.close();
    const auto part = shim::newest_part(folder_.c_str());
    const bool rotated = part >= 0;
    if (rotated && !aside.open(folder_ + "/log." + std::to_string(part), static_cast<std::uint64_t>(part)) &&
        tries < 100)
      continue;
    const bool there = growing.open(folder_ + "/log", rotated ? aside.end : 0);
    if (shim::newest_part(folder_.c_str()) != part) continue;  // it rotated just now
    if (!there && !rotated) return {};
    break;
  }
  std::string out;
  const auto first = aside.fd >= 0 ? aside.begin : growing.begin;
  if (offset_ < first) {
    out = "[lathe] " + std::to_string(first - offset_) +
          " bytes of output were dropped before the server could take them\n";
    offset_ = first;
  }
  const Part& part = aside.fd >= 0 && offset_ < aside.end ? aside : growing;
  if (part.fd < 0 || offset_ >= part.end) return out;
  std::string piece(std::min<std::uint64_t>(limit, part.end - offset_), '\0');
  const auto got = ::pread(part.fd, piece.data(), piece.size(), static_cast<off_t>(offset_ - part.begin));
  if (got > 0) {
    out.append(piece, 0, static_cast<std::size_t>(got));
    offset_ += static_cast<std::uint64_t>(got);
  }
  return out;
}

}  // namespace lathe::remote
