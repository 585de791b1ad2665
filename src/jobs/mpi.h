#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "jobs/distribution.h"

/// Jobs that Open MPI launches. mpirun runs on the first node. On the others a shell waits until mpirun's launch agent
/// hands it the command line of the daemon that starts the ranks there: so each rank runs within its own node's limits,
/// and nothing needs ssh.
namespace lathe::jobs::mpi {

/// The shell text that `node` runs for `command`. It needs HOME (which all nodes share) and TMPDIR (which they do not).
std::string script(const Distribution& distribution, std::int64_t node, const std::string& command,
                   const std::string& interface);

/// The same where nodes share no folder and Slurm gave them: mpirun starts its daemons by srun, and the other nodes wait
/// until they are stopped.
std::string slurm_script(const Distribution& distribution, std::int64_t node, const std::string& command);

/// The rank that failed first and its exit status, as the job's ranks noted it below its work folder.
struct Failure {
  std::int64_t rank = 0;
  int code = 0;
};
std::optional<Failure> first_failure(const std::filesystem::path& work);

/// The file below the work folder with what `rank` printed.
std::string log_file(const Distribution& distribution, std::int64_t rank);

}  // namespace lathe::jobs::mpi
