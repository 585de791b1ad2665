#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "jobs/states.h"
#include "process/supervised.h"

namespace lathe::jobs {

/// What the shims of a job's nodes say together.
struct Gang {
  bool running = false;              ///< some of it runs
  bool decided = false;              ///< how it will end is known: what runs has to be ended
  Event event = Event::broke;        ///< succeeded, broke or stopped; once nothing runs
  std::optional<std::size_t> cause;  ///< the node that failed first
};

/// `nodes`: at least one, each running, exited or lost. `helpers`: those nodes that nobody waits for (parameter servers
/// alone); as long as `nodes`.
///
/// A node that was lost is the cause before all others: their processes fail because it has gone. Else the first to
/// fail is.
Gang sum_up(const std::vector<process::Observation>& nodes, const std::vector<bool>& helpers);

}  // namespace lathe::jobs
