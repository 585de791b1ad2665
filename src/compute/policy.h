#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/events.h"

namespace lathe::compute {

/// "fifo": the order of submission, nothing else. "backfill": that, and short jobs fill gaps. "priority": tiers and priorities
/// before, and spot jobs give way. "fair": that, and of equal ones the user who has used less comes first.
/// Errors: `invalid`.
Result<Policy> policy_named(std::string_view name);

/// {"alice=2", "*=4"}: how many nodes jobs of one user may have at once. Errors: `invalid`.
Result<std::map<std::string, std::int64_t>> read_quotas(const std::vector<std::string>& parts);

}  // namespace lathe::compute
