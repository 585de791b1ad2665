#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "db/db.h"

namespace lathe::db {

/// Small writes of one kind that come from many callers at once, as one unit of work: what the writer has not begun yet
/// goes together, so that statements are shared as the commit is. Thread-safe; the database must outlive what was
/// submitted.
///
/// T has a member `outcome`, a Result<void>, for what concerns that item alone. Should the unit fail as a whole, then
/// each of its items is tried by itself, so that none suffers for another.
template <class T>
class Gather : public std::enable_shared_from_this<Gather<T>> {
 public:
  using Done = std::function<void(Result<void>)>;
  /// Writes all items. It may be run again, as Database::Work may.
  using Work = std::function<Result<void>(Connection&, std::span<T* const>)>;

  Gather(Database& db, Work work) : db_(db), work_(std::move(work)) {}

  /// `done` is called as Database::submit calls it.
  void submit(T value, Done done) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back({std::make_unique<T>(std::move(value)), std::move(done)});
      if (std::exchange(asked_for_, true)) return;
    }
    send(std::make_shared<Batch>());
  }

 private:
  static constexpr std::size_t kMost = 512;
  struct Item {
    std::unique_ptr<T> value;
    Done done;
  };
  using Batch = std::vector<Item>;

  /// An empty batch is filled when the writer comes to it.
  void send(std::shared_ptr<Batch> batch) {
    const auto self = this->shared_from_this();
    db_.submit(
        [self, batch](Connection& c) -> Result<void> {
          if (batch->empty()) *batch = self->take();
          std::vector<T*> values;
          for (auto& item : *batch) values.push_back(item.value.get());
          return self->work_(c, values);
        },
        [self, batch](Result<void> kept) { self->finish(*batch, kept); });
  }

  Batch take() {
    const std::lock_guard lock(mutex_);
    Batch out;
    for (; !waiting_.empty() && out.size() < kMost; waiting_.pop_front()) out.push_back(std::move(waiting_.front()));
    asked_for_ = false;
    return out;
  }

  void finish(Batch& batch, const Result<void>& kept) {
    if (batch.empty()) batch = take();  // the writer never came to it
    for (auto& item : batch) {
      if (kept) {
        item.done(std::move(item.value->outcome));
      } else if (batch.size() == 1 || kept.error().code == Code::unavailable) {
        item.done(fail(kept.error()));
      } else {
        auto alone = std::make_shared<Batch>();
        alone->push_back(std::move(item));
        send(std::move(alone));
      }
    }
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty() || std::exchange(asked_for_, true)) return;
    }
    send(std::make_shared<Batch>());
  }

  Database& db_;
  const Work work_;
  std::mutex mutex_;
  std::deque<Item> waiting_;
  bool asked_for_ = false;  ///< a unit of work is on its way that will take what waits
};

}  // namespace lathe::db
