#include "infer/workers/worker_host.h"

#include <algorithm>
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

WorkerHost::WorkerHost(std::filesystem::path logs, int most_parked)
    : logs_(std::move(logs)), most_parked_(most_parked), thread_([this] { io_.run(); }) {}

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

std::map<std::string, std::set<int>> WorkerHost::gpus() {
  std::vector<std::shared_ptr<WorkerPool>> pools;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& each : pools_)
      if (auto pool = each.lock()) pools.push_back(std::move(pool));
  }
  std::map<std::string, std::set<int>> out;
  for (const auto& pool : pools)
    if (auto gpus = pool->gpus(); !gpus.empty()) out[pool->holder()].merge(gpus);
  return out;
}

void WorkerHost::add(const std::shared_ptr<WorkerPool>& pool) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pools_, [](const auto& each) { return each.expired(); });
  pools_.push_back(pool);
}

bool WorkerHost::may_park(const std::shared_ptr<WorkerPool>& pool, std::chrono::steady_clock::time_point used) {
  std::shared_ptr<WorkerPool> leaves;
  {
    const std::lock_guard lock(mutex_);
    if (static_cast<int>(parked_.size()) >= most_parked_) {
      const auto first = std::min_element(parked_.begin(), parked_.end(),
                                          [](const auto& a, const auto& b) { return a.used < b.used; });
      if (first == parked_.end() || first->used >= used) return false;
      leaves = first->pool.lock();
      parked_.erase(first);
    }
    parked_.push_back({pool.get(), pool, used});
  }
  if (leaves) leaves->unpark();
  return true;
}

void WorkerHost::has_parked_no_longer(const WorkerPool* pool) {
  const std::lock_guard lock(mutex_);
  std::erase_if(parked_, [&](const auto& each) { return each.id == pool; });
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
