#include "compute/gpu_use.h"

#include <fmt/format.h>

namespace lathe::compute {
namespace {

constexpr std::int64_t kWhole = 1000;

double gib(double bytes) {
  return bytes / static_cast<double>(std::int64_t{1} << 30);
}

}  // namespace

GpuUse judge(const std::vector<Gpu>& gpus, const std::vector<std::vector<GpuProcess>>& processes, const GpuHolds& holds,
             const std::function<std::optional<std::string>(int pid)>& owner) {
  GpuUse out;
  for (std::size_t i = 0; i < gpus.size() && i < processes.size(); ++i) {
    const auto& gpu = gpus[i];
    std::map<std::string, std::int64_t> used;
    for (const auto& process : processes[i]) {
      const auto job = owner(process.pid);
      const auto held = job ? holds.find(*job) : holds.end();
      if (held == holds.end() || !held->second.contains(gpu.number))
        out.foreign[gpu.number].push_back(process.pid);
      else
        used[*job] += process.memory_bytes.value_or(0);
    }
    for (const auto& [job, bytes] : used) {
      const auto share = holds.at(job).at(gpu.number);
      const auto allowed = static_cast<double>(gpu.memory_bytes) * static_cast<double>(share) / kWhole;
      if (share >= kWhole || gpu.memory_bytes == 0 || static_cast<double>(bytes) <= allowed) continue;
      out.excess.push_back(
          {job,
           fmt::format(
               "It used {:.2f} GiB of the memory of GPU {} ({}), of which its part is {:.2g}: {:.2f} GiB. The others "
               "that share the GPU need theirs: ask for a larger part, or a whole GPU.",
               gib(static_cast<double>(bytes)), gpu.number, gpu.name, static_cast<double>(share) / kWhole,
               gib(allowed))});
    }
  }
  return out;
}

}  // namespace lathe::compute
