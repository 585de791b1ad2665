#include "process/watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/file.h"
#include "process/records.h"
#include "process/supervised.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

/// The shim's pidfd, or an empty one when the run is over.
Result<Fd> find_shim(const fs::path& folder) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{5};
  for (;;) {
    LATHE_TRY(const auto seen, observe(folder));
    if (seen.status != Status::running) return Fd{};
    LATHE_TRY(const auto state, read_state(folder));
    if (state) {
      auto shim = open_shim(*state);
      if (shim) return shim;
      if (errno == EMFILE || errno == ENFILE)
        return fail(Error{Code::exhausted, "no file descriptors left to watch a job", {}});
    }
    // In its first moments the shim has no state yet; in its last ones it is gone and the lock not yet free.
    if (std::chrono::steady_clock::now() >= deadline)
      return fail(Code::internal, "the lock of " + folder.string() + " is held by something that is no lathe-shim");
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

}  // namespace

struct Watch::State {
  struct Entry {
    fs::path folder;
    Fd shim;
  };

  std::function<void(const fs::path&)> on_end;
  Fd poll{::epoll_create1(EPOLL_CLOEXEC)};
  Fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;  // guards what follows
  std::map<std::uint64_t, Entry> entries;
  std::map<fs::path, std::uint64_t> ids;
  std::vector<std::uint64_t> over;  ///< ended before they were added
  std::uint64_t next_id = 1;        ///< 0 is `wake`
  bool closing = false;
  std::thread thread;

  void ring() {
    const std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }

  /// Takes the entry out and tells; an entry that was removed meanwhile is none of our business.
  void tell(std::uint64_t id) {
    fs::path folder;
    {
      const std::lock_guard hold(mutex);
      const auto found = entries.find(id);
      if (found == entries.end()) return;
      folder = found->second.folder;
      ids.erase(folder);
      entries.erase(found);  // closes the pidfd, which takes it out of the epoll set
    }
    on_end(folder);
  }

  void run() {
    for (;;) {
      epoll_event events[64];
      const int count = ::epoll_wait(poll.get(), events, 64, -1);
      for (int i = 0; i < count; ++i)
        if (events[i].data.u64 != 0) tell(events[i].data.u64);
      std::uint64_t rung = 0;
      (void)!::read(wake.get(), &rung, sizeof rung);
      std::vector<std::uint64_t> told;
      {
        const std::lock_guard hold(mutex);
        if (closing) return;
        told.swap(over);
      }
      for (const auto id : told) tell(id);
    }
  }
};

Watch::Watch(std::function<void(const fs::path&)> on_end) : state_(std::make_unique<State>()) {
  state_->on_end = std::move(on_end);
  epoll_event event{};
  event.events = EPOLLIN;
  ::epoll_ctl(state_->poll.get(), EPOLL_CTL_ADD, state_->wake.get(), &event);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Watch::~Watch() {
  {
    const std::lock_guard hold(state_->mutex);
    state_->closing = true;
  }
  state_->ring();
  state_->thread.join();
}

Result<void> Watch::add(const fs::path& folder) {
  {
    const std::lock_guard hold(state_->mutex);
    if (state_->ids.contains(folder)) return {};
  }
  LATHE_TRY(auto shim, find_shim(folder));
  const std::lock_guard hold(state_->mutex);
  const auto id = state_->next_id++;
  if (!state_->ids.emplace(folder, id).second) return {};
  const int fd = shim.get();
  state_->entries.emplace(id, State::Entry{folder, std::move(shim)});
  if (fd < 0) {
    state_->over.push_back(id);
    state_->ring();
    return {};
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  if (::epoll_ctl(state_->poll.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  auto error = errno_error("cannot watch " + folder.string());
  state_->entries.erase(id);
  state_->ids.erase(folder);
  return fail(std::move(error));
}

void Watch::remove(const fs::path& folder) {
  const std::lock_guard hold(state_->mutex);
  const auto found = state_->ids.find(folder);
  if (found == state_->ids.end()) return;
  state_->entries.erase(found->second);
  state_->ids.erase(found);
}

}  // namespace lathe::process
