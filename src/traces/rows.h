#pragma once

#include "traces/traces.h"

/// How rows of traces are read: shared by the files of this folder.
namespace lathe::traces {

/// The columns that `read_trace` reads, of a table that the statement calls t.
#define LATHE_TRACE_COLUMNS                                                                                         \
  "t.number, t.id, t.experiment_id, t.request_ms, t.duration_ms, t.state, t.client_request_id, t.request_preview, " \
  "t.response_preview"
Trace read_trace(const db::Row& row);

}  // namespace lathe::traces
