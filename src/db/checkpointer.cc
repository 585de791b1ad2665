#include "db/checkpointer.h"

#include "base/log.h"

namespace lathe::db {
namespace {

constexpr int kPages = 4000;        ///< of the WAL, 16 MiB, before its pages are copied
constexpr int kMostPages = 25'000;  ///< where a writer that is faster than the copying waits for it
constexpr int kFew = 200;           ///< pages that the writer may copy by itself
constexpr int kRounds = 8;

}  // namespace

Checkpointer::Checkpointer(std::unique_ptr<SqliteConnection> own)
    : own_(std::move(own)), next_pages_(kPages), thread_([this] { run(); }) {}

Checkpointer::~Checkpointer() {
  {
    const std::lock_guard lock(mutex_);
    state_ = State::stopping;
  }
  asked_.notify_one();
  thread_.join();
}

void Checkpointer::after_commit(SqliteConnection& writer) {
  const int pages = writer.wal_pages();
  if (pages < kPages) next_pages_ = kPages;  // it began anew
  std::unique_lock lock(mutex_);
  if (pages >= kMostPages) copied_.wait(lock, [&] { return state_ != State::copying; });
  if (state_ == State::close) {
    if (auto copied = writer.checkpoint(); !copied) log::warn("checkpoint why={}", copied.error().message);
    state_ = State::resting;
  } else if (state_ == State::resting && pages >= next_pages_) {
    next_pages_ = pages + kPages;  // when a reader keeps the WAL from beginning anew, not at every commit
    state_ = State::copying;
    asked_.notify_one();
  }
}

void Checkpointer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    asked_.wait(lock, [&] { return state_ == State::copying || state_ == State::stopping; });
    if (state_ == State::stopping) return;
    lock.unlock();
    for (int round = 0; round < kRounds; ++round) {
      const auto left = own_->checkpoint();
      if (!left) log::warn("checkpoint why={}", left.error().message);
      if (!left || *left <= kFew) break;
    }
    lock.lock();
    if (state_ == State::copying) state_ = State::close;
    copied_.notify_one();
  }
}

}  // namespace lathe::db
