#include "jobs/verdict.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>

#include "base/text.h"

namespace lathe::jobs {
namespace {

/// What the output says about the cause, as one more sentence; or nothing.
std::string hint(std::string_view lines, const std::optional<std::string>& full_disk) {
  if (const auto at = lines.rfind("ModuleNotFoundError: No module named "); at != std::string_view::npos) {
    auto module = lines.substr(at + 37);
    module = module.substr(0, module.find('\n'));
    return fmt::format(" The environment lacks the Python module {}: name its package in the job's environment, install it on this machine, or leave out its import.", module);
  }
  // MLflow's client, when mlflow.set_experiment named another experiment than that of MLFLOW_RUN_ID.
  if (lines.find("because active run ID does not match environment run ID") != std::string_view::npos)
    return " The script calls mlflow.set_experiment, but a job is a run of its experiment already: leave the call out, and name the experiment in the job's "
           "file (experiment_name).";
  if (lines.find("mpirun: not found") != std::string_view::npos)
    return " Open MPI is not installed on this machine (Debian: apt install openmpi-bin).";
  if (lines.find("No space left on device") != std::string_view::npos)
    return full_disk ? fmt::format(" The disk is full ({}): make room and submit it again.", *full_disk) : " A disk was full: make room and submit it again.";
  if (full_disk) return fmt::format(" Mind that {}.", *full_disk);
  return {};
}

std::string limit_of(const process::End& end) {
  return end.memory_limit_bytes > 0 ? fmt::format(": it may have {} MiB", end.memory_limit_bytes >> 20) : "";
}

std::string how_it_ended(const process::End& end, std::int64_t timeout_s) {
  using process::Reason;
  switch (end.reason) {
    case Reason::timeout: return fmt::format("The job ran longer than its limit of {} s (limits.timeout) and was ended.", timeout_s);
    case Reason::start_failed: return "The job's process could not be started: " + end.error + ".";
    case Reason::stopped: return "The job was stopped.";
    case Reason::signaled:
      if (end.oom_killed)
        return fmt::format("The job ran out of memory and the kernel ended it{}; its largest process had {} MiB. Use a compute target with larger nodes, or less memory.",
                           limit_of(end), end.max_rss_bytes >> 20);
      return fmt::format("The job's process was ended by signal {} ({}).", end.signal.value_or(0), ::strsignal(end.signal.value_or(0)));
    case Reason::exited: break;
  }
  const int code = end.code.value_or(-1);
  if (end.oom_killed)
    return fmt::format("A process of the job ran out of memory and the kernel ended it{}; the command then exited with status {}. Use a compute target with "
                       "larger nodes, or less memory.", limit_of(end), code);
  if (code == 127) return "The command exited with status 127: a program that it calls does not exist.";
  if (code == 126) return "The command exited with status 126: a program that it calls is not executable.";
  // A shell, and what runs a sandbox, say 128 and the number of a signal.
  if (code > 128 && code <= 128 + SIGRTMAX) return fmt::format("The command exited with status {} (signal {}, {}).", code, code - 128, ::strsignal(code - 128));
  return fmt::format("The command exited with status {}.", code);
}

}  // namespace

std::string verdict(const VerdictInput& input) {
  std::string out;
  if (input.observation.end) {
    if (input.rank) out = fmt::format("Rank {} on the node {} failed and ended the job. ", *input.rank, input.node);
    out += how_it_ended(*input.observation.end, input.timeout_s);
  } else {
    out = fmt::format("The job was lost: its supervisor on {} was killed or the machine went down, so that its exit status is unknown. What was left of it "
                      "was ended; submit it again.", input.node.empty() ? "this machine" : input.node);
  }
  if (input.observation.end && input.observation.end->pids_refused > 0)
    out += fmt::format(" It had too many processes and threads at a time: the kernel refused it new ones {} times.", input.observation.end->pids_refused);
  const auto lines = trim(input.last_lines);
  out += hint(lines, input.full_disk);
  if (!lines.empty())
    out += (input.rank.value_or(0) > 0 ? fmt::format("\nThe last lines of rank {}:\n", *input.rank)
                                       : "\nIts last lines:\n") +
           printable(lines);
  return out;
}

}  // namespace lathe::jobs
