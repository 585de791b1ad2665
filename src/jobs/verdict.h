#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "process/supervised.h"

namespace lathe::jobs {

struct VerdictInput {
  process::Observation observation;  ///< exited or lost
  std::string last_lines;            ///< of the log
  std::int64_t timeout_s = 0;
  std::string node;
  std::optional<std::int64_t> rank;  ///< of several processes, that which failed first
  std::optional<std::string> full_disk = {};  ///< in words, when the job's disk is full now
};

/// Why a job failed, in a sentence or two with the evidence, then the last lines of its log.
std::string verdict(const VerdictInput& input);

}  // namespace lathe::jobs
