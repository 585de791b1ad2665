#include <fmt/format.h>
#include <sys/syscall.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "app/app.h"
#include "app/data_folder.h"
#include "cli/exit_codes.h"
#include "process/supervised.h"
#include "process/watch.h"
#include "serving/data_plane.h"

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

/// The folders of all shims below the data folder: jobs' attempts and the data plane.
std::vector<std::filesystem::path> shim_folders(const std::filesystem::path& data) {
  std::vector<std::filesystem::path> out;
  if (const auto infer = serving::data_plane_run(data)) out.push_back(*infer);
  std::error_code error;
  for (const auto& job : std::filesystem::directory_iterator(data / "jobs", error)) {
    std::error_code ignored;
    for (const auto& attempt : std::filesystem::directory_iterator(job.path(), ignored))
      if (attempt.path().filename().string().starts_with("attempt-")) {
        out.push_back(attempt.path());
        // A job on several nodes has a shim on each, in folders of their own.
        for (const auto& node : std::filesystem::directory_iterator(attempt.path(), ignored))
          if (node.path().filename().string().starts_with("node-")) out.push_back(node.path());
      }
  }
  return out;
}

/// Ends what runs under shims: asks, and kills what has not ended after 15 s.
int stop_programs(const std::filesystem::path& data) {
  std::vector<std::filesystem::path> running;
  for (const auto& folder : shim_folders(data)) {
    const auto seen = process::observe(folder);
    if (seen && seen->status == process::Status::lost) (void)process::kill_now(folder);
    if (!seen || seen->status != process::Status::running) continue;
    if (const auto asked = process::request_stop(folder, std::chrono::seconds{10}); !asked)
      fmt::print(stderr, "lathe stop: {}\n", asked.error().message);
    running.push_back(folder);
  }
  std::mutex mutex;
  std::condition_variable one_ended;
  std::size_t ended = 0;
  {
    process::Watch watch([&](const std::filesystem::path&) {
      const std::lock_guard lock(mutex);
      ++ended;
      one_ended.notify_all();
    });
    for (const auto& folder : running)
      if (!watch.add(folder)) fmt::print(stderr, "lathe stop: cannot watch {}\n", folder.string());
    std::unique_lock lock(mutex);
    one_ended.wait_for(lock, std::chrono::seconds{15}, [&] { return ended >= running.size(); });
  }
  int status = 0;
  for (const auto& folder : running) {
    const auto seen = process::observe(folder);
    if (seen && seen->status == process::Status::exited) continue;
    if (const auto killed = process::kill_now(folder); !killed) {
      fmt::print(stderr, "lathe stop: {}\n", killed.error().message);
      status = 1;
    }
  }
  if (!running.empty()) fmt::print(stderr, "stopped {} program{}\n", running.size(), running.size() == 1 ? "" : "s");
  return status;
}

}  // namespace

bool has_programs(const std::filesystem::path& data) {
  const auto folders = shim_folders(data);
  return std::any_of(folders.begin(), folders.end(), [](const auto& folder) {
    const auto seen = process::observe(folder);
    return seen && seen->status == process::Status::running;
  });
}

int stop(const std::filesystem::path& data, bool all) {
  const auto running = running_server(data);
  if (!running) {
    fmt::print(stderr, "lathe stop: {}\n", running.error().message);
    return cli::exit_code(running.error().code);
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
  return all ? stop_programs(data) : 0;
}

}  // namespace lathe::app
