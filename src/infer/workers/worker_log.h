#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lathe::infer {

/// What the workers of one deployment print: "TIME WORKER| LINE" in FOLDER/log, of bounded size, over restarts. Used on
/// the workers' thread only; what cannot be written is dropped.
class WorkerLog {
 public:
  explicit WorkerLog(std::filesystem::path folder);

  void add(int worker, const std::vector<std::string>& lines);

 private:
  std::filesystem::path folder_;
  std::uint64_t offset_ = 0;
};

}  // namespace lathe::infer
