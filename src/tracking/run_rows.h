#pragma once

#include "tracking/history.h"

/// How rows of runs and points are read: shared by the files of this folder.
namespace lathe::tracking {

/// The columns that `read_run_info` reads, of a table that the statement calls r.
#define LATHE_RUN_COLUMNS                                                                                           \
  "r.number, r.id, r.experiment_id, r.name, r.user_name, r.status, r.start_ms, r.end_ms, r.stage, r.artifact_uri, " \
  "r.job, r.owner, r.created_by"
RunInfo read_run_info(const db::Row& row);
/// The error of a run that is not there.
Result<void> no_run(std::string_view run_id);
/// That the run is not deleted, and `who` may write it. Errors: `invalid`, `forbidden`.
Result<void> check_writable(const http::Principal& who, const RunInfo& run);
/// As for one run, in a few statements for all.
Result<std::vector<Run>> load_details(db::Connection& c, std::vector<RunInfo> infos);

/// As `set_tags`, but for the run's name, which the caller writes. Returns the tags as they are kept, by key.
Result<std::vector<Tag>> write_tags(db::Connection& c, const RunInfo& run, const std::vector<Tag>& tags);

/// From key, value, timestamp_ms, step, is_nan.
Metric read_metric(const db::Row& row);

/// From timestamp_ms, step, value, is_nan.
Point read_point(const db::Row& row);

/// How a value is kept: NaN as 0 with a mark, infinities as the largest finite numbers, zero without a sign.
struct KeptValue {
  double value;
  bool is_nan;
};
KeptValue kept(double value);

}  // namespace lathe::tracking
