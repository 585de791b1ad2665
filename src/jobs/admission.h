#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "environments/environments.h"
#include "jobs/disk_room.h"

namespace lathe::jobs {

/// What a job waits for before it takes its place in a queue: its environment, and room on the disk. Thread-safe.
class Admission {
 public:
  struct Calls {
    /// `job` may ask again: its environment is there, or the disk has room again. Called on threads of others; must not
    /// block.
    std::function<void(const std::string& job, bool built)> ready;
    /// `job` cannot have its environment.
    std::function<void(const std::string& job, const Error& why)> refused;
  };
  Admission(environments::Environments& environments, DiskRoom disk, Calls calls);
  ~Admission() { stop(); }
  Admission(const Admission&) = delete;
  /// No call is made any more when this has returned.
  void stop();

  /// Whether the job may go on; else one of the calls comes.
  bool may_queue(const std::string& job, const std::optional<environments::Recipe>& recipe);
  /// Whether the disk has room for a job that starts now.
  bool has_room() const;
  /// "its environment is being built (7 s): ..."; empty: it does not wait here.
  std::string waiting_for(const std::string& job) const;
  void forget(const std::string& job);

 private:
  void keep_looking();

  environments::Environments& environments_;
  const DiskRoom disk_;
  const Calls calls_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::map<std::string, std::string> building_;  ///< job -> the environment's digest
  std::set<std::string> for_room_;
  std::thread looks_;
};

}  // namespace lathe::jobs
