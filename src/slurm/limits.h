#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "slurm/commands.h"

namespace lathe::slurm {

/// Why a job of `nodes` nodes with that time limit (0: none) could never run in the partition, whose nodes are `all`;
/// empty: it could. Nodes that are down now count, too.
std::string never_runs(const Partition& asked, std::int64_t nodes, std::int64_t time_limit_s,
                       const std::vector<Node>& all);

/// The GPUs in sinfo's generic resources: "gpu:a100:4(S:0-1),shard:8" has 4.
std::int64_t gpus_in(std::string_view gres);

/// sinfo's time limit ("2-12:00:00", "30:00", "infinite") in minutes, rounded down; 0: none.
std::int64_t minutes_in(std::string_view limit);

}  // namespace lathe::slurm
