#pragma once

#include <sys/types.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
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
  /// `logs`: where deployments' logs are, each in a folder of its own.
  explicit WorkerHost(std::filesystem::path logs);
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

  /// What is there, for the end.
  void add(const std::shared_ptr<WorkerPool>& pool);
  void began(pid_t pid);
  void ended(pid_t pid);

 private:
  std::filesystem::path logs_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> busy_{io_.get_executor()};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<pid_t> running_;
  std::vector<std::weak_ptr<WorkerPool>> pools_;
  std::map<std::filesystem::path, std::weak_ptr<WorkerLog>> known_logs_;
  std::thread thread_;
};

}  // namespace lathe::infer
