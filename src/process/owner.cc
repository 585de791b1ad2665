#include "process/owner.h"

#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/text.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

/// From /proc/PID/stat: "42 (name) S 1 ...", where the name may hold anything. 0: it has ended.
int parent_of(int pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  const auto name_end = stat ? stat->rfind(')') : std::string::npos;
  if (name_end == std::string::npos || stat->size() < name_end + 5) return 0;
  return std::atoi(stat->c_str() + name_end + 4);
}

}  // namespace

std::optional<fs::path> run_of(int pid) {
  constexpr int kDeepest = 1000;
  for (int depth = 0; pid > 1 && depth < kDeepest; ++depth, pid = parent_of(pid)) {
    const auto line = read_file("/proc/" + std::to_string(pid) + "/cmdline", std::size_t{1} << 16);
    if (!line) continue;
    const auto words = split(*line, '\0');
    if (words.size() > 2 && words[1] == "run" && fs::path(words[0]).filename() == "lathe-shim")
      return fs::path(words[2]);
  }
  return std::nullopt;
}

}  // namespace lathe::process
