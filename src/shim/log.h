#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/text.h"

namespace lathe::shim {

/// Where the newest "log.N" in the folder begins: N. At most two are there, while a shim rotates. -1: there is none.
std::int64_t newest_part(const char* folder);

/// FOLDER/log and one earlier part beside it: together at most `cap` bytes, however much is written. A full disk loses
/// output, never the job: how much is noted in the log as soon as there is room again.
class Log {
 public:
  /// Opens the log, which goes on where an earlier part ends that lies there already; a failure is as a full disk.
  void open(const char* folder, std::int64_t cap);
  void write(const char* bytes, std::size_t size);
  /// A line of the shim's own: "[lathe] text".
  void say(const char* text);
  void sync();
  std::int64_t lost_bytes() const { return lost_; }

 private:
  void open_part();
  void rotate();
  bool say_lost();
  std::size_t put(const char* bytes, std::size_t size);

  const char* folder_ = "";
  std::int64_t part_ = 0;  ///< bytes that a part may hold
  int fd_ = -1;
  std::int64_t begin_ = 0;     ///< the logical offset at which the current part begins
  std::int64_t size_ = 0;      ///< of the current part
  std::int64_t earlier_ = -1;  ///< where the part before it begins; -1: there is none
  std::int64_t lost_ = 0;
  std::int64_t unsaid_ = 0;  ///< lost, and not yet noted in the log
};

}  // namespace lathe::shim
