#pragma once

#include <string>
#include <vector>

#include "tracking/tracking.h"

/// Searches of experiments and runs, page by page.
namespace lathe::tracking {

constexpr std::size_t kMostRunsPerPage = 50'000;
constexpr std::size_t kMostExperimentsPerPage = 50'000;

template <class T>
struct Page {
  std::vector<T> items;
  std::string next;  ///< token of the next page; empty: this was the last
};

struct RunSearch {
  std::vector<std::int64_t> experiments = {};
  std::string filter = {};
  View view = View::active_only;
  std::size_t limit = 1000;
  std::vector<std::string> order_by = {};
  std::string page_token = {};
};

/// With details. Errors: `invalid` — a filter, order or token that MLflow would refuse too.
Result<Page<Run>> search_runs(db::Connection& c, const RunSearch& search);

struct ExperimentSearch {
  std::string filter = {};
  View view = View::active_only;
  std::size_t limit = 1000;
  std::vector<std::string> order_by = {};
  std::string page_token = {};
};
/// With tags.
Result<Page<Experiment>> search_experiments(db::Connection& c, const ExperimentSearch& search);

/// "x.stage = 'active'"; what is being removed is in no view.
std::string stage_condition(const std::string& column, View view);

}  // namespace lathe::tracking
