#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/file.h"
#include "process/log_follow.h"

namespace lathe::process {

struct LogWatch::State {
  struct Follower {
    int folder = -1;  ///< inotify's number for it, shared by all who follow it
    std::function<void()> wake;
  };

  Fd changes{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
  Fd bell{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;  // guards what follows
  std::condition_variable idle;
  std::map<std::uint64_t, Follower> followers;
  std::map<int, std::set<std::uint64_t>> by_folder;
  std::uint64_t next_id = 1;
  std::uint64_t waking = 0;  ///< whose `wake` runs now
  bool closing = false;
  std::thread thread;

  /// The folders that changed; an overflow of the kernel's queue means any of them.
  std::set<int> read_changes() {
    std::set<int> out;
    alignas(inotify_event) char buffer[16384];
    for (;;) {
      const auto got = ::read(changes.get(), buffer, sizeof buffer);
      if (got <= 0) return out;
      for (const char* at = buffer; at < buffer + got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        at += sizeof(inotify_event) + event->len;
        if ((event->mask & IN_Q_OVERFLOW) != 0) {
          const std::lock_guard hold(mutex);
          for (const auto& [folder, ids] : by_folder) out.insert(folder);
        } else if ((event->mask & IN_IGNORED) == 0) {
          out.insert(event->wd);
        }
      }
    }
  }

  void wake_all(int folder) {
    std::unique_lock hold(mutex);
    const auto found = by_folder.find(folder);
    if (found == by_folder.end()) return;
    const auto ids = found->second;
    for (const auto id : ids) {
      const auto follower = followers.find(id);
      if (follower == followers.end()) continue;
      const auto wake = follower->second.wake;
      waking = id;
      hold.unlock();
      wake();
      hold.lock();
      waking = 0;
      idle.notify_all();
    }
  }

  void run() {
    for (;;) {
      pollfd on[2] = {{changes.get(), POLLIN, 0}, {bell.get(), POLLIN, 0}};
      ::poll(on, 2, -1);
      {
        const std::lock_guard hold(mutex);
        if (closing) return;
      }
      for (const int folder : read_changes()) wake_all(folder);
    }
  }

  void end(std::uint64_t id) {
    std::unique_lock hold(mutex);
    const auto found = followers.find(id);
    if (found == followers.end()) return;
    auto& ids = by_folder[found->second.folder];
    ids.erase(id);
    if (ids.empty()) {
      ::inotify_rm_watch(changes.get(), found->second.folder);
      by_folder.erase(found->second.folder);
    }
    followers.erase(found);
    if (std::this_thread::get_id() != thread.get_id()) idle.wait(hold, [&] { return waking != id; });
  }
};

LogWatch::LogWatch() : state_(std::make_unique<State>()) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

LogWatch::~LogWatch() {
  {
    const std::lock_guard hold(state_->mutex);
    state_->closing = true;
  }
  const std::uint64_t one = 1;
  (void)!::write(state_->bell.get(), &one, sizeof one);
  state_->thread.join();
}

Result<LogWatch::Subscription> LogWatch::subscribe(const std::filesystem::path& folder, std::function<void()> wake) {
  const std::lock_guard hold(state_->mutex);
  const int number =
      ::inotify_add_watch(state_->changes.get(), folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
  if (number < 0) return fail(errno_error("cannot follow " + folder.string()));
  Subscription out;
  out.watch_ = this;
  out.id_ = state_->next_id++;
  state_->followers.emplace(out.id_, State::Follower{number, std::move(wake)});
  state_->by_folder[number].insert(out.id_);
  return out;
}

LogWatch::Subscription::Subscription(Subscription&& other) noexcept
    : watch_(std::exchange(other.watch_, nullptr)), id_(other.id_) {}

LogWatch::Subscription& LogWatch::Subscription::operator=(Subscription&& other) noexcept {
  std::swap(watch_, other.watch_);
  std::swap(id_, other.id_);
  return *this;
}

LogWatch::Subscription::~Subscription() {
  if (watch_ != nullptr) watch_->state_->end(id_);
}

}  // namespace lathe::process
