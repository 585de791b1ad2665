#pragma once

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>

#include "infer/workers/channel.h"
#include "infer/workers/worker_pool.h"

namespace lathe::infer {

/// Before the next start, after so many that failed.
inline std::chrono::milliseconds pause_after(int failures) {
  constexpr std::chrono::milliseconds kFirst{100};
  constexpr std::chrono::milliseconds kLongest{10'000};
  return std::min(kLongest, kFirst * (1 << std::clamp(failures - 1, 0, 10)));
}

struct WorkerPool::Worker {
  /// `parking` until it has imported, `parked` until it is woken; then `starting`.
  enum class Stage { gone, parking, parked, starting, idle, busy, ending };
  using Descriptor = boost::asio::posix::stream_descriptor;

  Worker(boost::asio::io_context& io, int own_number) : number(own_number), pause(io), socket(io), log(io), ended(io) {}

  bool is_ready() const { return stage == Stage::idle || stage == Stage::busy; }
  bool is_parked() const { return stage == Stage::parking || stage == Stage::parked; }

  const int number;
  bool wanted = true;  ///< else it is to end, or gone, and is not started again
  Stage stage = Stage::gone;
  bool was_ready = false;   ///< this process
  bool was_parked = false;  ///< this process
  pid_t pid = -1;
  Channel channel;
  std::optional<Waiting> current;
  std::chrono::nanoseconds queued{};  ///< how long `current` waited
  Clock::time_point since{};          ///< when `current`, or the process, or its end, began
  int failures = 0;                   ///< ends since its last answer
  std::string why;                    ///< it is to end, or it said so itself

  // Of the host's thread.
  boost::asio::steady_timer pause;
  Descriptor socket;
  Descriptor log;
  Descriptor ended;
  std::string line;  ///< printed, without its end yet
};

}  // namespace lathe::infer
