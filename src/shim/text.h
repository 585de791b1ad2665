#pragma once

#include <cstddef>
#include <cstdint>

/// The few text and file helpers of the shim. No exceptions and no allocation here: the shim links nothing of
/// libstdc++.
namespace lathe::shim {

/// A text of bounded length that is always NUL-terminated; what does not fit is cut.
struct Text {
  char data[4096];
  std::size_t size = 0;

  Text() { clear(); }
  void clear() { data[size = 0] = '\0'; }
  Text& add(const char* text);
  Text& add(std::int64_t value);
  /// As a JSON string, with quotes; at most 1200 bytes, and '?' for what is not printable ASCII.
  Text& add_json(const char* text);
};

/// "FOLDER/name".
Text path_in(const char* folder, const char* name);

std::int64_t wall_us();
std::int64_t monotonic_ms();

/// Writes all of it; false with errno when it could not.
bool write_all(int fd, const char* bytes, std::size_t size);
/// Writes `value` into an existing file (of /proc or a cgroup).
bool write_value(const char* path, const char* value);
/// Reads up to `size` - 1 bytes and ends them with NUL; false with errno when it could not.
bool read_text(const char* path, char* into, std::size_t size);
/// The number after `key` at the start of a line, or `otherwise`: for cgroup files such as "oom_kill 1".
std::int64_t value_in(const char* path, const char* key, std::int64_t otherwise);
/// Field 22 of /proc/PID/stat: with the boot id it names a process for ever. 0 when there is none.
std::int64_t start_time(int pid);

}  // namespace lathe::shim
