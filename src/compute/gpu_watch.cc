#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.h"
#include "compute/compute.h"

/// Who uses the GPUs, looked at again and again.
namespace lathe::compute {
namespace {

constexpr std::chrono::seconds kPause{1};
constexpr std::int64_t kWhole = 1000;

}  // namespace

GpuHolds Compute::gpu_holds() const {
  GpuHolds out;
  for (const auto& [name, known] : targets_)
    for (const auto& node : scheduler_.nodes(name)) {
      if (!node.job) continue;
      for (std::size_t i = 0; i < node.gpus.size(); ++i)
        out[*node.job][node.gpus[i]] += static_cast<std::int64_t>(i) < node.has.gpus ? kWhole : node.has.gpu_share;
    }
  for (const auto& [holder, is] : reserved_)
    for (const int gpu : held_by(is)) out[kDeployments][gpu] = kWhole;
  return out;
}

void Compute::watch_gpus() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    gpu_pause_.wait_for(lock, kPause, [&] { return stopping_; });
    lock.unlock();
    look_at_gpus();
    lock.lock();
  }
}

void Compute::look_at_gpus() {
  if (gpus_.list().empty()) return;
  std::unique_lock lock(mutex_);
  auto holds = gpu_holds();
  const auto owner = calls_.owner;
  const auto end = calls_.end;
  lock.unlock();
  if (!owner) return;
  const auto processes = gpus_.processes();
  if (!processes) {
    if (!std::exchange(gpus_unknown_, true))
      log::warn("who uses the GPUs is not known, so all are given out why={}", processes.error().message);
    return;
  }
  gpus_unknown_ = false;
  lock.lock();
  // What was placed meanwhile holds its GPUs too.
  for (const auto& [job, gpus] : gpu_holds()) holds[job].insert(gpus.begin(), gpus.end());
  lock.unlock();
  auto use = judge(gpus_.list(), *processes, holds, owner);

  lock.lock();
  if (stopping_) return;
  // A process of a job that has just ended may still be listed: only what is there twice is another's.
  std::set<int> busy;
  std::map<int, std::vector<int>> foreign;
  for (const auto& [gpu, pids] : use.foreign)
    for (const int pid : pids)
      if (!looked_ || seen_[gpu].contains(pid)) {
        busy.insert(gpu);
        foreign[gpu].push_back(pid);
      }
  seen_.clear();
  for (const auto& [gpu, pids] : use.foreign) seen_[gpu].insert(pids.begin(), pids.end());
  looked_ = true;
  std::vector<GpuExcess> excess;
  for (auto& one : use.excess)
    if (ended_.insert(one.job).second) excess.push_back(std::move(one));
  if (foreign != foreign_) {
    for (const auto& [gpu, pids] : foreign)
      if (!foreign_.contains(gpu))
        log::info("a process outside Lathe uses a GPU, which is not given out gpu={} pids={}", gpu,
                  fmt::join(pids, ","));
    foreign_ = std::move(foreign);
    carry_out(lock, decide(GpusBusy{busy}));
  }
  lock.unlock();
  for (const auto& one : excess) {
    log::warn("a job has too much of a GPU's memory and is ended job={} why=\"{}\"", one.job, one.why);
    if (end) end(one.job, one.why);
  }
}

std::vector<GpuAnswer> Compute::gpus() const {
  const std::lock_guard lock(mutex_);
  std::vector<GpuAnswer> out;
  for (const auto& gpu : gpus_.list()) {
    GpuAnswer answer{gpu.number, gpu.uuid,
                     gpu.name,   static_cast<double>(gpu.memory_bytes) / static_cast<double>(std::int64_t{1} << 30),
                     gpu.mig,    "free",
                     {},         {}};
    const auto has = [&](const std::vector<int>& gpus) {
      return std::find(gpus.begin(), gpus.end(), gpu.number) != gpus.end();
    };
    for (const auto& [name, known] : targets_)
      for (const auto& node : scheduler_.nodes(name))
        if (has(node.gpus))
          answer.holders.push_back(node.job ? fmt::format("{} ({})", node.name, *node.job) : node.name);
    for (const auto& [holder, is] : reserved_)
      if (has(held_by(is))) answer.holders.push_back(is.rules.name);
    if (!answer.holders.empty()) answer.state = "held";
    if (const auto foreign = foreign_.find(gpu.number); foreign != foreign_.end()) {
      answer.state = "outside";
      answer.outside.assign(foreign->second.begin(), foreign->second.end());
    }
    out.push_back(std::move(answer));
  }
  return out;
}

}  // namespace lathe::compute
