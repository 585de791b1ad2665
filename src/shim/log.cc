#include "shim/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace lathe::shim {
namespace {

Text part_path(const char* folder, std::int64_t begin) {
  Text path = path_in(folder, "log.");
  path.add(begin);
  return path;
}

}  // namespace

std::int64_t newest_part(const char* folder) {
  DIR* list = ::opendir(folder);
  std::int64_t newest = -1;
  while (const dirent* entry = list == nullptr ? nullptr : ::readdir(list)) {
    if (std::strncmp(entry->d_name, "log.", 4) != 0 || entry->d_name[4] < '0' || entry->d_name[4] > '9') continue;
    const auto begin = std::strtoll(entry->d_name + 4, nullptr, 10);
    if (begin > newest) newest = begin;
  }
  if (list != nullptr) ::closedir(list);
  return newest;
}

void Log::open(const char* folder, std::int64_t cap) {
  folder_ = folder;
  part_ = cap / 2 > 4096 ? cap / 2 : 4096;
  earlier_ = newest_part(folder);
  struct stat found {};
  if (earlier_ >= 0 && ::stat(part_path(folder, earlier_).data, &found) == 0) begin_ = earlier_ + found.st_size;
  open_part();
}

void Log::open_part() {
  fd_ = ::open(path_in(folder_, "log").data, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

void Log::write(const char* bytes, std::size_t size) {
  while (size > 0) {
    if (size_ >= part_) rotate();
    if (fd_ < 0) open_part();
    const auto room = static_cast<std::size_t>(part_ - size_);
    const auto now = size < room ? size : room;
    if (unsaid_ == 0 || say_lost()) {
      const auto done = put(bytes, now);
      lost_ += static_cast<std::int64_t>(now - done);
      unsaid_ += static_cast<std::int64_t>(now - done);
    } else {
      lost_ += static_cast<std::int64_t>(now);
      unsaid_ += static_cast<std::int64_t>(now);
    }
    bytes += now;
    size -= now;
  }
}

bool Log::say_lost() {
  Text note;
  note.add("\n[lathe] ").add(unsaid_).add(" bytes of output are missing here: they could not be written\n");
  if (put(note.data, note.size) < note.size) return false;
  unsaid_ = 0;
  return true;
}

void Log::say(const char* text) {
  Text line;
  line.add("[lathe] ").add(text).add("\n");
  write(line.data, line.size);
}

std::size_t Log::put(const char* bytes, std::size_t size) {
  std::size_t written = 0;
  while (written < size && fd_ >= 0) {
    const auto done = ::write(fd_, bytes + written, size - written);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) break;
    written += static_cast<std::size_t>(done);
  }
  size_ += static_cast<std::int64_t>(written);
  return written;
}

void Log::rotate() {
  const auto was = path_in(folder_, "log");
  const auto aside = part_path(folder_, begin_);
  if (::rename(was.data, aside.data) != 0) {
    part_ *= 2;  // the part grows on; there is nothing better to do
    return;
  }
  if (fd_ >= 0) ::close(fd_);
  open_part();
  if (earlier_ >= 0) ::unlink(part_path(folder_, earlier_).data);
  earlier_ = begin_;
  begin_ += size_;
  size_ = 0;
}

void Log::sync() {
  if (fd_ >= 0) ::fdatasync(fd_);
}

}  // namespace lathe::shim
