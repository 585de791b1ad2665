#include "jobs/usage_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/time.h"
#include "tracking/tracking.h"

namespace lathe::jobs {
namespace {

double megabytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

double percent(double part, double whole) {
  return 100.0 * part / std::max(whole, 1.0);
}

}  // namespace

UsageLog::UsageLog(db::Database& db, const Options& options, const compute::Resources& machine)
    : db_(db), options_(options), machine_(machine) {
  if (options_.interval.count() > 0) thread_ = std::thread([this] { work(); });
}

UsageLog::~UsageLog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopping_there_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void UsageLog::add(const std::string& run_id, const std::vector<std::filesystem::path>& folders,
                   const std::vector<compute::NodeGiven>& nodes, const compute::Resources& room) {
  if (options_.interval.count() == 0) return;
  Watched watched;
  watched.room = room.cores > 0 ? room : machine_;
  for (std::size_t node = 0; node < folders.size(); ++node)
    watched.nodes.push_back({folders.size() == 1 ? "system/" : fmt::format("system/{}/", node),
                             process::UsageMeter(folders[node]),
                             node < nodes.size() ? nodes[node].gpus : std::vector<int>{}, std::nullopt, Clock::now()});
  const std::lock_guard lock(mutex_);
  watched_.insert_or_assign(run_id, std::move(watched));
}

void UsageLog::remove(const std::string& run_id) {
  const std::lock_guard lock(mutex_);
  watched_.erase(run_id);
}

void UsageLog::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_there_.wait_for(lock, options_.interval, [&] { return stopping_; })) {
    lock.unlock();
    sample();
    lock.lock();
  }
}

std::vector<compute::GpuUsage> UsageLog::look_at_gpus() {
  if (options_.gpus == nullptr) return {};
  {
    const std::lock_guard lock(mutex_);
    const auto has_gpus = [](const Node& node) { return !node.gpus.empty(); };
    if (std::none_of(watched_.begin(), watched_.end(), [&](const auto& one) {
          return std::any_of(one.second.nodes.begin(), one.second.nodes.end(), has_gpus);
        }))
      return {};
  }
  return options_.gpus->usage();  // not under the lock: the driver may take its time
}

void UsageLog::sample() {
  std::map<std::string, std::vector<tracking::Metric>> found;
  const auto gpus = look_at_gpus();
  {
    const std::lock_guard lock(mutex_);
    const auto at_ms = millis(now());
    for (auto& [run_id, watched] : watched_) {
      auto& metrics = found[run_id];
      for (auto& node : watched.nodes) {
        const auto used = node.meter.look();
        if (!used) continue;
        const auto at = Clock::now();
        const auto add = [&](const std::string& name, double value) {
          metrics.push_back({node.prefix + name, value, at_ms, watched.step});
        };
        if (node.last) {
          const auto passed_us =
              std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(at - node.at).count(), 1);
          add("cpu_utilization_percentage",
              100.0 * static_cast<double>(std::max<std::int64_t>(used->cpu_us - node.last->cpu_us, 0)) /
                  static_cast<double>(passed_us * std::max<std::int64_t>(watched.room.cores, 1)));
        }
        add("system_memory_usage_megabytes", megabytes(used->memory_bytes));
        add("system_memory_usage_percentage",
            100.0 * static_cast<double>(used->memory_bytes) /
                static_cast<double>(std::max<std::int64_t>(watched.room.memory_bytes, 1)));
        add("disk_read_megabytes", megabytes(used->read_bytes));
        add("disk_write_megabytes", megabytes(used->write_bytes));
        for (std::size_t i = 0; i < node.gpus.size(); ++i) {
          const auto number = static_cast<std::size_t>(node.gpus[i]);
          if (number >= gpus.size()) continue;
          const auto& gpu = gpus[number];
          const auto add_gpu = [&](const char* name, double value) { add(fmt::format("gpu_{}_{}", i, name), value); };
          if (gpu.busy_percent) add_gpu("utilization_percentage", *gpu.busy_percent);
          if (gpu.memory_bytes) {
            add_gpu("memory_usage_megabytes", megabytes(*gpu.memory_bytes));
            add_gpu("memory_usage_percentage", percent(static_cast<double>(*gpu.memory_bytes),
                                                       static_cast<double>(options_.gpus->list()[number].memory_bytes)));
          }
          if (gpu.power_watts) add_gpu("power_usage_watts", *gpu.power_watts);
          if (gpu.power_watts && gpu.power_limit_watts)
            add_gpu("power_usage_percentage", percent(*gpu.power_watts, *gpu.power_limit_watts));
        }
        node.last = *used;
        node.at = at;
      }
      if (!metrics.empty()) ++watched.step;
    }
  }
  std::erase_if(found, [](const auto& one) { return one.second.empty(); });
  if (found.empty()) return;
  const auto logged = db_.write([&](db::Connection& c) -> Result<void> {
    for (const auto& [run_id, metrics] : found)
      if (const auto run = tracking::find_run(c, run_id)) LATHE_CHECK(tracking::log_metrics(c, *run, metrics));
    return {};
  });
  if (!logged) log::warn("what running jobs use could not be logged why={}", logged.error().message);
}

}  // namespace lathe::jobs
