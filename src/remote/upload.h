#pragma once

#include <cstdint>
#include <string>

#include "remote/checkpoint.h"

namespace lathe::remote {

/// A file on its way to the server.
class Upload {
 public:
  Upload() = default;
  ~Upload() { close(); }
  Upload(const Upload&) = delete;

  /// False: it is not there, or no file of ours. `name`: what the server calls it.
  bool open(const std::string& path, std::string name);
  void close();
  bool is_open() const { return fd_ >= 0; }

  /// The next piece, from `have` on. False: it cannot be read, or is another one than when it was opened.
  bool read(std::string& piece) const;
  std::uint64_t size() const { return version_.size; }
  const std::string& name() const { return name_; }

  std::uint64_t have = 0;  ///< bytes that the server has

 private:
  int fd_ = -1;
  std::string name_;
  Version version_;
};

}  // namespace lathe::remote
