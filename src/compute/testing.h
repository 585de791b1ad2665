#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "compute/events.h"

/// What the scheduler's tests share.
namespace lathe::compute {

/// A cluster of `min` to `max` such nodes, each of which leaves after `idle` seconds without a job.
inline Rules cluster(const std::string& name, Resources node, std::int64_t min, std::int64_t max, int idle = 100) {
  Rules rules;
  rules.name = name;
  rules.node = node;
  rules.min_nodes = min;
  rules.max_nodes = max;
  rules.idle = std::chrono::seconds{idle};
  return rules;
}

}  // namespace lathe::compute
