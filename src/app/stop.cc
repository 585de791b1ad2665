#include <fmt/format.h>
#include <sys/syscall.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "app/app.h"
#include "app/data_folder.h"

namespace lathe::app {
namespace {

/// Sends SIGTERM and waits until the process is gone. False: it did not end within `limit_ms`.
bool end_process(int pid, int limit_ms) {
  const Fd handle{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!handle) return true;
  ::syscall(SYS_pidfd_send_signal, handle.get(), SIGTERM, nullptr, 0);
  pollfd waiting{handle.get(), POLLIN, 0};
  return ::poll(&waiting, 1, limit_ms) == 1;
}

}  // namespace

int stop(const std::filesystem::path& data, bool all) {
  const auto running = running_server(data);
  if (!running) {
    fmt::print(stderr, "lathe stop: {}\n", running.error().message);
    return 1;
  }
  if (*running) {
    if (!end_process((*running)->pid, 60'000)) {
      fmt::print(stderr, "lathe stop: the server (process {}) did not end within a minute; its log says what it is doing\n", (*running)->pid);
      return 1;
    }
    fmt::print(stderr, "stopped the server (process {})\n", (*running)->pid);
  } else {
    fmt::print(stderr, "no server is running in {}\n", data.string());
  }
  (void)all;
  return 0;
}

}  // namespace lathe::app
