#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tracking/tracking.h"

/// The points of metrics, read in bulk. `value` is NaN where that was logged.
namespace lathe::tracking {

struct Point {
  std::int64_t timestamp_ms = 0;
  std::int64_t step = 0;
  double value = 0;
};

/// What the store calls the metric, or nullopt: the run has none of that name.
Result<std::optional<std::int64_t>> find_metric(db::Connection& c, const RunInfo& run, std::string_view key);

struct HistoryPage {
  std::vector<Point> points;
  std::string next;  ///< token of the next page; empty: this was the last
};
/// Points in the order (timestamp, step, value), at most `limit`. A page costs the same wherever it is. Errors:
/// `invalid` — a bad token.
Result<HistoryPage> metric_history(db::Connection& c, const RunInfo& run, std::string_view key, std::size_t limit,
                                   std::string_view page_token);

struct RunPoints {
  std::string run_id;
  std::vector<Point> points;
};
/// One metric of several runs, by run id, at most `limit` points in all; runs without it are left out.
Result<std::vector<RunPoints>> bulk_history(db::Connection& c, const std::vector<std::string>& run_ids,
                                            std::string_view key, std::size_t limit);

struct StepRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};
/// One metric of several runs at some of their steps: at most `most` of all steps in `range` (absent: from 0 on),
/// evenly spread, and each run's own first and last. In the order of `run_ids`, then (step, timestamp, value).
Result<std::vector<RunPoints>> sampled_history(db::Connection& c, const std::vector<std::string>& run_ids,
                                               std::string_view key, std::optional<StepRange> range, std::size_t most);

}  // namespace lathe::tracking
