#include "infer/workers/worker_host.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <csignal>
#include <future>

#include "infer/workers/worker_log.h"
#include "infer/workers/worker_pool.h"

namespace lathe::infer {
namespace {

constexpr std::chrono::seconds kGrace{2};

}  // namespace

WorkerHost::WorkerHost(std::filesystem::path logs) : logs_(std::move(logs)), thread_([this] { io_.run(); }) {}

WorkerHost::~WorkerHost() {
  busy_.reset();
  io_.stop();
  thread_.join();
}

void WorkerHost::finish() {
  std::vector<std::weak_ptr<WorkerPool>> pools;
  {
    const std::lock_guard lock(mutex_);
    pools = pools_;
  }
  for (const auto& each : pools)
    if (const auto pool = each.lock()) pool->stop();
  std::promise<void> stopped;
  boost::asio::post(io_, [&] { stopped.set_value(); });
  stopped.get_future().wait();
  std::unique_lock lock(mutex_);
  const auto all_gone = [this] { return running_.empty(); };
  if (changed_.wait_for(lock, kGrace, all_gone)) return;
  for (const auto pid : running_) ::kill(-pid, SIGKILL);
  changed_.wait_for(lock, kGrace, all_gone);
}

void WorkerHost::add(const std::shared_ptr<WorkerPool>& pool) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pools_, [](const auto& each) { return each.expired(); });
  pools_.push_back(pool);
}

std::shared_ptr<WorkerLog> WorkerHost::log_of(const std::string& endpoint, const std::string& deployment) {
  const auto folder = log_folder(endpoint, deployment);
  const std::lock_guard lock(mutex_);
  auto& known = known_logs_[folder];
  auto log = known.lock();
  if (!log) known = log = std::make_shared<WorkerLog>(folder);
  return log;
}

void WorkerHost::began(pid_t pid) {
  const std::lock_guard lock(mutex_);
  running_.insert(pid);
}

void WorkerHost::ended(pid_t pid) {
  const std::lock_guard lock(mutex_);
  running_.erase(pid);
  changed_.notify_all();
}

}  // namespace lathe::infer
