#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"
#include "infer/desired_state.h"

namespace lathe::infer {

/// `lathe-infer --launch-worker DOCUMENT` becomes a worker.
constexpr std::string_view kLaunchFlag = "--launch-worker";

/// A Python process with its ends of what leads to it.
struct WorkerProcess {
  pid_t pid = -1;  ///< it leads a process group of its own
  Fd ended;        ///< a pidfd
  Fd socket;
  Fd log;  ///< what it prints
};

/// Why models of this account cannot be shut into a sandbox here; empty: they can. Tries it once, which takes some
/// milliseconds. Thread-safe.
std::string why_no_sandbox(int account);

/// Starts the worker with this number. It ends with the thread that calls this. Errors: `unavailable`.
/// `parked`: it waits to be told what to import (kPark), and then to load the model (kWake).
Result<WorkerProcess> start_worker(const DesiredModel& model, int number, bool sandboxed, bool parked);

/// What the new process does first: it takes its account, its limits and its sandbox, and becomes the interpreter.
/// Returns only when that fails, with the exit status; it has said why on stderr.
int launch_worker(std::string_view document);

}  // namespace lathe::infer
