#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compute/gpus.h"

/// What the processes on the GPUs mean: which GPUs others use, and which job has more of one than its part.
namespace lathe::compute {

/// What each job holds of each GPU, in thousandths.
using GpuHolds = std::map<std::string, std::map<int, std::int64_t>>;

struct GpuExcess {
  std::string job;
  std::string why;  ///< a sentence for its verdict
};

struct GpuUse {
  /// A process computes there that is no process of a job which holds it: one outside Lathe, or of a job on "local".
  std::map<int, std::vector<int>> foreign;  ///< GPU -> their process numbers
  std::vector<GpuExcess> excess;            ///< one for each job
};

/// `owner`: the job to which a process belongs, or none. Pure.
GpuUse judge(const std::vector<Gpu>& gpus, const std::vector<std::vector<GpuProcess>>& processes, const GpuHolds& holds,
             const std::function<std::optional<std::string>(int pid)>& owner);

}  // namespace lathe::compute
