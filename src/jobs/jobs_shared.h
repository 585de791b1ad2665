#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/events.h"
#include "jobs/job_store.h"
#include "jobs/plan.h"
#include "tracking/tracking.h"

/// What the files of `Jobs` share: jobs.cc (submission, answers), jobs_running.cc (an attempt, from its nodes to its end) and
/// jobs_start.cc (what an earlier server left).
namespace lathe::jobs {

/// A job with this variable samples the machine by itself, under the same names.
constexpr const char* kSamplesItself = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING";
constexpr std::string_view kNoEngine = "this server is not connected to Slurm: start it with --slurm on";

tracking::RunStatus run_status(State state);
/// Errors: the kept plan cannot be read.
Result<Plan> plan_of(const Job& job);
compute::Need need_of(const Job& job, const Plan& plan);
/// Asks all shims to end their programs, also when one cannot be asked.
Result<void> ask_to_stop(const std::vector<std::filesystem::path>& folders);

}  // namespace lathe::jobs
