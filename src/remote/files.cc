#include "remote/files.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "shim/text.h"

namespace lathe::remote {
namespace {

int remove_one(const char* path, const struct stat*, int, struct FTW*) {
  return ::remove(path);
}

}  // namespace

std::string because(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool make_parents(const std::string& folder, const std::string& path) {
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
    if (::mkdir((folder + "/" + path.substr(0, slash)).c_str(), 0755) != 0 && errno != EEXIST) return false;
  return true;
}

bool write_file(const std::string& path, std::string_view content) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = shim::write_all(fd, content.data(), content.size());
  return ::close(fd) == 0 && written;
}

bool read_file(const std::string& path, std::string& content) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char piece[8192];
  ssize_t got = 0;
  content.clear();
  while ((got = ::read(fd, piece, sizeof piece)) > 0) content.append(piece, static_cast<std::size_t>(got));
  ::close(fd);
  return got == 0;
}

void remove_tree(const std::string& folder) {
  ::nftw(folder.c_str(), remove_one, 64, FTW_DEPTH | FTW_PHYS);
}

int take_lock(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fd >= 0 && ::fcntl(fd, F_OFD_SETLK, &lock) == 0) return fd;
  const int why = errno == EACCES && fd >= 0 ? EAGAIN : errno;
  if (fd >= 0) ::close(fd);
  errno = why;
  return -1;
}

}  // namespace lathe::remote
