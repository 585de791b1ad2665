#pragma once

#include <cstdint>
#include <string>

namespace lathe::remote {

/// Reads on in a log that a shim writes and rotates (src/shim/README.md).
class LogTail {
 public:
  explicit LogTail(std::string folder) : folder_(std::move(folder)) {}
  /// The next up to `limit` bytes; empty: nothing new. What rotation took away before it was read becomes one line that
  /// says so.
  std::string read(std::size_t limit);
  /// Reads the last `bytes` once more.
  void go_back(std::uint64_t bytes) { offset_ -= bytes < offset_ ? bytes : offset_; }

 private:
  std::string folder_;
  std::uint64_t offset_ = 0;  ///< of all output
};

}  // namespace lathe::remote
