#pragma once

#include "db/db.h"
#include "http/http.h"

namespace lathe::tracking {

/// What Lathe's own API has beyond MLflow's.
void add_routes(http::Router& router, db::Database& db);

}  // namespace lathe::tracking
