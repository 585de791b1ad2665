#include "db/write_queue.h"

#include <algorithm>

namespace lathe::db {

void WriteQueue::push(Database::Work work, Database::Done done) {
  {
    const std::lock_guard lock(mutex_);
    writes_.push_back({std::move(work), std::move(done), {}});
  }
  changed_.notify_all();
}

void WriteQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool WriteQueue::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

std::optional<std::vector<Write>> WriteQueue::take(std::size_t most, std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return stopping_ || !writes_.empty(); });
  if (writes_.empty()) return stopping_ ? std::nullopt : std::optional<std::vector<Write>>{std::in_place};
  const auto end = writes_.begin() + static_cast<std::ptrdiff_t>(std::min(most, writes_.size()));
  std::vector<Write> batch(std::make_move_iterator(writes_.begin()), std::make_move_iterator(end));
  writes_.erase(writes_.begin(), end);
  return batch;
}

void WriteQueue::pause(std::chrono::milliseconds length) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, length, [&] { return stopping_; });
}

Result<void> run_guarded(const Database::Work& work, Connection& connection) {
  try {
    return work(connection);
  } catch (const std::exception& error) {
    return fail(Code::internal, std::string("a store operation threw: ") + error.what());
  }
}

}  // namespace lathe::db
