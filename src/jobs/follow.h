#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "http/http.h"
#include "process/log_follow.h"

/// A job's log and state, live.
namespace lathe::jobs {

/// What a follower sees of a job at one moment.
struct Glance {
  json::Value job;                   ///< as the API shows it
  bool ended = false;
  std::filesystem::path log_folder;  ///< where its process writes; empty or missing: it has not started
};

struct Followed {
  /// How it is now. Called on the worker pool.
  std::function<Result<Glance>()> look;
  /// Calls `wake`, which does not block, after each change of the job until the returned object goes.
  std::function<std::shared_ptr<void>(std::function<void()> wake)> on_change;
  process::LogWatch* log_watch = nullptr;  ///< outlives the stream
};

/// Server-sent events until the job has ended: `state` {job} at first and at each change, `log` {"offset", "text", "next"}
/// for all output from `offset` on, `end` {job} last. A log event's id is the offset to resume at. Texts are UTF-8
/// whatever the job prints; offsets count its bytes.
std::unique_ptr<http::Source> follow(Followed what, std::uint64_t offset);

/// All output from `offset` to its present end, as it is.
std::unique_ptr<http::Source> log_so_far(std::filesystem::path folder, std::uint64_t offset);

}  // namespace lathe::jobs
