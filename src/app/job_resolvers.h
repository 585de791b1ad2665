#pragma once

#include "assets/assets.h"
#include "assets/models.h"
#include "environments/environments.h"
#include "jobs/plan.h"

namespace lathe::app {

/// What jobs need of the assets.
jobs::Resolvers job_resolvers(assets::Assets& assets, assets::Models& models, environments::Environments& environments);

/// What the registry asks of jobs: what a model's run was made from.
Result<std::optional<assets::JobOrigin>> job_origin(db::Connection& c, const std::string& run);

}  // namespace lathe::app
