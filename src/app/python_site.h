#pragma once

#include "app/config.h"
#include "assets/assets.h"
#include "assets/models.h"
#include "auth/auth.h"
#include "environments/environments.h"
#include "jobs/launcher.h"
#include "serving/python.h"

namespace lathe::app {

/// What deployments that are Python need: they run as jobs do. All given must outlive it.
serving::PythonSite python_site(auth::Auth& auth, assets::Assets& assets, assets::Models& models,
                                environments::Environments& environments, const jobs::Launcher& launcher,
                                const Config& config);

}  // namespace lathe::app
