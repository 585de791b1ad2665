#include "compute/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/file.h"
#include "base/text.h"

namespace lathe::compute {
namespace {

/// A cgroup's memory limit, when this process lives under one; else a very large number.
std::int64_t cgroup_memory_limit() {
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const auto text = read_file(file);
    if (!text) continue;
    const auto trimmed = trim(*text);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
    if (error == std::errc{} && value > 0) return value;
  }
  return INT64_MAX;
}

}  // namespace

Resources& Resources::operator+=(const Resources& other) {
  cores += other.cores;
  memory_bytes += other.memory_bytes;
  gpus += other.gpus;
  gpu_share += other.gpu_share;
  return *this;
}

Resources& Resources::operator-=(const Resources& other) {
  cores -= other.cores;
  memory_bytes -= other.memory_bytes;
  gpus -= other.gpus;
  gpu_share -= other.gpu_share;
  return *this;
}

std::string Resources::words() const {
  std::string out = fmt::format("{} core{}, {:.4g} GiB", cores, cores == 1 ? "" : "s",
                                static_cast<double>(memory_bytes) / static_cast<double>(1 << 30));
  if (const auto count = gpu_count(); count > 0) out += fmt::format(", {:.3g} GPU{}", count, count > 1 ? "s" : "");
  return out;
}

Resources this_machine(std::int64_t gpus) {
  Resources out;
  cpu_set_t set;
  CPU_ZERO(&set);
  out.cores = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : ::sysconf(_SC_NPROCESSORS_ONLN);
  const std::int64_t physical = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  out.memory_bytes = std::min(physical, cgroup_memory_limit());
  out.gpus = gpus;
  return out;
}

}  // namespace lathe::compute
