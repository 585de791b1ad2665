#include "jobs/admission.h"

#include "base/log.h"

namespace lathe::jobs {
namespace {

constexpr auto kLookAgain = std::chrono::seconds{1};

}  // namespace

Admission::Admission(environments::Environments& environments, DiskRoom disk, Calls calls)
    : environments_(environments), disk_(std::move(disk)), calls_(std::move(calls)) {
  looks_ = std::thread([this] { keep_looking(); });
}

void Admission::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (looks_.joinable()) looks_.join();
  environments_.stop();
}

bool Admission::may_queue(const std::string& job, const std::optional<environments::Recipe>& recipe) {
  if (const auto shortage = disk_.shortage()) {
    {
      const std::lock_guard lock(mutex_);
      if (for_room_.empty()) log::warn("jobs wait for room on the disk why=\"{}\"", *shortage);
      for_room_.insert(job);
    }
    changed_.notify_all();
    return false;
  }
  if (!recipe) return true;
  const auto digest = recipe->digest();
  if (environments_.ready(digest)) return true;
  {
    const std::lock_guard lock(mutex_);
    building_[job] = digest;
  }
  environments_.build(*recipe, [this, job](const Result<std::filesystem::path>& folder) {
    {
      const std::lock_guard lock(mutex_);
      if (building_.erase(job) == 0) return;  // it was cancelled meanwhile
    }
    if (folder)
      calls_.ready(job, true);
    else
      calls_.refused(job, folder.error());
  });
  return false;
}

bool Admission::has_room() const {
  return !disk_.shortage();
}

void Admission::keep_looking() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (for_room_.empty())
      changed_.wait(lock);
    else
      changed_.wait_for(lock, kLookAgain);
    if (stopping_ || for_room_.empty() || disk_.shortage()) continue;
    const auto ready = std::exchange(for_room_, {});
    lock.unlock();
    for (const auto& job : ready) calls_.ready(job, false);
    lock.lock();
  }
}

std::string Admission::waiting_for(const std::string& job) const {
  std::string digest;
  {
    const std::lock_guard lock(mutex_);
    if (for_room_.contains(job)) return disk_.shortage().value_or("the disk has room again");
    if (const auto found = building_.find(job); found != building_.end()) digest = found->second;
  }
  return digest.empty() ? "" : environments_.waiting_for(digest);
}

void Admission::forget(const std::string& job) {
  const std::lock_guard lock(mutex_);
  building_.erase(job);
  for_room_.erase(job);
}

}  // namespace lathe::jobs
