#include "shim/text.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace lathe::shim {

Text& Text::add(const char* text) {
  while (*text != '\0' && size + 1 < sizeof data) data[size++] = *text++;
  data[size] = '\0';
  return *this;
}

Text& Text::add(std::int64_t value) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "%lld", static_cast<long long>(value));
  return add(digits);
}

Text& Text::add_json(const char* text) {
  const auto end = size + 1200;  // so that a record with a few of them is never cut
  add("\"");
  for (; *text != '\0' && size < end; ++text) {
    char piece[3] = {*text, '\0', '\0'};
    if (*text == '"' || *text == '\\')
      piece[0] = '\\', piece[1] = *text;
    else if (static_cast<unsigned char>(*text) - 0x20U > 0x5eU)
      piece[0] = '?';
    add(piece);
  }
  return add("\"");
}

Text path_in(const char* folder, const char* name) {
  Text out;
  out.add(folder).add("/").add(name);
  return out;
}

std::int64_t wall_us() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

std::int64_t monotonic_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

bool write_all(int fd, const char* bytes, std::size_t size) {
  while (size > 0) {
    const auto done = ::write(fd, bytes, size);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    bytes += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

bool write_value(const char* path, const char* value) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = write_all(fd, value, std::strlen(value));
  const int error = errno;
  ::close(fd);
  errno = error;
  return done;
}

bool read_text(const char* path, char* into, std::size_t size) {
  into[0] = '\0';
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::size_t used = 0;
  while (used + 1 < size) {
    const auto got = ::read(fd, into + used, size - 1 - used);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    used += static_cast<std::size_t>(got);
  }
  into[used] = '\0';
  ::close(fd);
  return true;
}

std::int64_t value_in(const char* path, const char* key, std::int64_t otherwise) {
  char text[4096];
  if (path == nullptr || !read_text(path, text, sizeof text)) return otherwise;
  const std::size_t length = std::strlen(key);
  for (const char* line = text; line != nullptr && *line != '\0';) {
    if (std::strncmp(line, key, length) == 0 && line[length] == ' ') return std::atoll(line + length + 1);
    line = std::strchr(line, '\n');
    if (line != nullptr) ++line;
  }
  return otherwise;
}

std::int64_t start_time(int pid) {
  char path[64];
  char text[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (!read_text(path, text, sizeof text)) return 0;
  const char* at = std::strrchr(text, ')');  // the name before it may hold spaces and brackets
  for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
  return at == nullptr ? 0 : std::atoll(at);
}

}  // namespace lathe::shim
