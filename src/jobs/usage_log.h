#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compute/events.h"
#include "compute/gpus.h"
#include "compute/machine.h"
#include "db/db.h"
#include "process/usage.h"

namespace lathe::jobs {

/// Logs what running jobs use as system metrics of their runs, by MLflow's names: `system/cpu_utilization_percentage`,
/// `system/system_memory_usage_megabytes`, ...; of a job on several nodes `system/0/...` for each. Its GPUs are counted as
/// its program counts them: `system/gpu_0_utilization_percentage` is the first that it holds. One thread and one write to
/// the store for all jobs. Thread-safe.
class UsageLog {
 public:
  struct Options {
    std::chrono::milliseconds interval{0};  ///< between two samples; zero: nothing is logged
    const compute::Gpus* gpus = nullptr;    ///< null: none are looked at
  };
  UsageLog(db::Database& db, const Options& options, const compute::Resources& machine);
  ~UsageLog();

  /// `folders`: its shims', in the order of `nodes`. `room`: of each node; zero: the whole machine.
  void add(const std::string& run_id, const std::vector<std::filesystem::path>& folders,
           const std::vector<compute::NodeGiven>& nodes, const compute::Resources& room);
  void remove(const std::string& run_id);

 private:
  using Clock = std::chrono::steady_clock;
  struct Node {
    std::string prefix;
    process::UsageMeter meter;
    std::vector<int> gpus;  ///< in Lathe's list
    std::optional<process::Usage> last;
    Clock::time_point at{};
  };
  struct Watched {
    compute::Resources room;
    std::vector<Node> nodes;
    std::int64_t step = 0;
  };
  void work();
  void sample();
  /// What is known of the GPUs; nothing is asked when no job has any.
  std::vector<compute::GpuUsage> look_at_gpus();

  db::Database& db_;
  const Options options_;
  const compute::Resources machine_;
  std::mutex mutex_;
  std::condition_variable stopping_there_;
  bool stopping_ = false;
  std::map<std::string, Watched> watched_;
  std::thread thread_;
};

}  // namespace lathe::jobs
