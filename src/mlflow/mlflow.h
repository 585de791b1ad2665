#pragma once

#include "db/db.h"
#include "http/http.h"
#include "storage/storage.h"

/// MLflow's REST over tracking, registry and storage: the paths, field names and error texts that MLflow's own clients
/// know. Wire mapping only: what the calls mean is in the subjects.
namespace lathe::mlflow {

/// Adds all of it: /api/2.0/mlflow/..., /api/3.0/mlflow/..., their /ajax-api twins, /health and /version.
void add_routes(http::Router& router, db::Database& db, storage::Storage& artifacts);

}  // namespace lathe::mlflow
