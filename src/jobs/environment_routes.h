#pragma once

#include "assets/assets.h"
#include "environments/environments.h"
#include "http/http.h"
#include "jobs/jobs.h"

namespace lathe::jobs {

/// What was built of environments, and building ahead of a job.
void add_environment_routes(http::Router& router, Jobs& jobs, assets::Assets& assets,
                            environments::Environments& environments);

}  // namespace lathe::jobs
