#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compute/machine.h"
#include "db/db.h"
#include "process/usage.h"

namespace lathe::jobs {

/// Logs what running jobs use as system metrics of their runs, by MLflow's names: `system/cpu_utilization_percentage`,
/// `system/system_memory_usage_megabytes`, ...; of a job on several nodes `system/0/...` for each. One thread and one
/// write to the store for all jobs. Thread-safe.
class UsageLog {
 public:
  /// `interval`: between two samples; zero: nothing is logged.
  UsageLog(db::Database& db, std::chrono::milliseconds interval, const compute::Resources& machine);
  ~UsageLog();

  /// `folders`: its shims'. `room`: of each node; zero: the whole machine.
  void add(const std::string& run_id, const std::vector<std::filesystem::path>& folders,
           const compute::Resources& room);
  void remove(const std::string& run_id);

 private:
  using Clock = std::chrono::steady_clock;
  struct Node {
    std::string prefix;
    process::UsageMeter meter;
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

  db::Database& db_;
  const std::chrono::milliseconds interval_;
  const compute::Resources machine_;
  std::mutex mutex_;
  std::condition_variable stopping_there_;
  bool stopping_ = false;
  std::map<std::string, Watched> watched_;
  std::thread thread_;
};

}  // namespace lathe::jobs
