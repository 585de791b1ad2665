#pragma once

#include <memory>

#include "app/config.h"
#include "compute/compute.h"
#include "jobs/jobs.h"
#include "jobs/remote.h"
#include "slurm/engine.h"

namespace lathe::app {

/// Slurm as the settings describe it: null when they leave it off. Errors: `invalid`, `not_found` — lathe-remote is not
/// beside this program.
Result<std::unique_ptr<slurm::SlurmEngine>> open_slurm(const Config& config, const compute::Compute& compute);

/// What jobs on its nodes are told. `certificate`: the server's, when that is its own and nodes cannot know it.
Result<jobs::RemoteOptions> remote_options(const Config& config, const std::string& certificate);

/// By which address nodes reach a server that answers at `own`.
std::string url_for_nodes(const Config& config, const std::string& own);

}  // namespace lathe::app
