#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "jobs/remote.h"

namespace lathe::jobs {

struct ManifestInput {
  Job job;
  Plan plan;
  std::int64_t user_id = 0;
  std::string token;      ///< of the job, for tracking
  std::int64_t node = 0;  ///< whose manifest this is
  std::vector<RemoteNode> nodes;
  std::string url;                            ///< by which nodes reach this server
  std::vector<std::filesystem::path> shared;  ///< what nodes see under the same names
  std::chrono::milliseconds beat{};
  std::filesystem::path environments;  ///< where nodes keep them; empty: beside the attempt's folder
  Variables packages;                  ///< of their builds: where pip finds what it installs
};

/// What a node has to fetch, and what to run then: records "key=value", each ended by NUL, as docs/remote-protocol.md
/// describes them. Errors: a sentence for the job's verdict.
Result<std::string> make_manifest(const Launcher& launcher, const ManifestInput& input);

}  // namespace lathe::jobs
