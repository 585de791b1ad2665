#pragma once

#include <sys/types.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace lathe::infer {

class WorkerLog;
class WorkerPool;

/// The thread on which all workers are started, watched, and read. Workers end with it.
class WorkerHost {
 public:
  static constexpr int kMostParked = 4;

  /// `logs`: where deployments' logs are, each in a folder of its own.
  /// `most_parked`: interpreters of deployments that sleep, over all of them.
  explicit WorkerHost(std::filesystem::path logs, int most_parked = kMostParked);
  /// After `finish`.
  ~WorkerHost();
  /// Ends all workers. When it returns, everything that was asked is answered.
  void finish();
  WorkerHost(const WorkerHost&) = delete;

  boost::asio::io_context& io() { return io_; }
  std::filesystem::path log_folder(const std::string& endpoint, const std::string& deployment) const {
    return logs_ / (endpoint + "." + deployment);
  }
  /// The deployment's log, one for all of its pools. On any thread.
  std::shared_ptr<WorkerLog> log_of(const std::string& endpoint, const std::string& deployment);

  /// The GPUs that workers have, or may be given, by "ENDPOINT/DEPLOYMENT". On any thread.
  std::map<std::string, std::set<int>> gpus();

  /// What is there, for the end.
  void add(const std::shared_ptr<WorkerPool>& pool);

  int most_parked() const { return most_parked_; }
  /// Whether a pool that was asked last at `used` may park an interpreter; that of the one which was asked longest ago
  /// ends where there are too many. On the host's thread, without a pool's lock.
  bool may_park(const std::shared_ptr<WorkerPool>& pool, std::chrono::steady_clock::time_point used);
  void has_parked_no_longer(const WorkerPool* pool);

  void began(pid_t pid);
  void ended(pid_t pid);

 private:
  struct Parked {
    const WorkerPool* id;
    std::weak_ptr<WorkerPool> pool;
    std::chrono::steady_clock::time_point used;
  };

  std::filesystem::path logs_;
  const int most_parked_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> busy_{io_.get_executor()};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<pid_t> running_;
  std::vector<std::weak_ptr<WorkerPool>> pools_;
  std::vector<Parked> parked_;
  std::map<std::filesystem::path, std::weak_ptr<WorkerLog>> known_logs_;
  std::thread thread_;
};

}  // namespace lathe::infer
