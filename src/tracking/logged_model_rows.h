#pragma once

#include "tracking/lineage.h"

/// How rows of logged models are read: shared by the files of this folder.
namespace lathe::tracking {

/// The columns that `read_logged_model` reads, of a table that the statement calls m.
#define LATHE_LOGGED_MODEL_COLUMNS                                                                         \
  "m.id, m.experiment_id, m.name, m.artifact_uri, m.status, m.model_type, m.source_run_id, m.created_by, " \
  "m.created_ms, m.updated_ms"
LoggedModel read_logged_model(const db::Row& row);

/// Fills in parameters, tags and metrics.
Result<void> load_details(db::Connection& c, LoggedModel& model);

}  // namespace lathe::tracking
