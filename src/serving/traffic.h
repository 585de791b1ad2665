#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "json/json.h"

namespace lathe::serving {

/// Percent of the requests by deployment; together 0 or 100.
using Traffic = std::map<std::string, std::int64_t>;

constexpr std::int64_t kMostMirrored = 50;  ///< as Azure has it

/// Percent of the requests that are copied to one deployment; empty: none are.
/// Errors: `invalid` — no whole percent up to kMostMirrored, several deployments, or one that `existing` does not name.
Result<Traffic> read_mirror(const json::Object& value, const std::vector<std::string>& existing);
/// Errors: `invalid` — the mirror's deployment gets requests, too.
Result<void> check_mirror(const Traffic& mirror, const Traffic& traffic);

/// "blue 90 %, green 10 %"; "none"
std::string print_traffic(const Traffic& traffic);

/// `given`, with what is missing to 100 % shared among the others of `before` as it was.
Traffic complete_traffic(const Traffic& given, const Traffic& before);

/// Errors: `invalid` — not whole percents, a sum other than 0 and 100, or a deployment that `existing` does not name.
/// `completed_from`: what is missing to 100 % is shared among these, as `complete_traffic` does.
Result<Traffic> read_traffic(const json::Object& value, const std::vector<std::string>& existing,
                             const Traffic& completed_from = {});

}  // namespace lathe::serving
