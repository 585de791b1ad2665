#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "compute/instance.h"
#include "compute/engine.h"
#include "compute/scheduler.h"
#include "compute/sizes.h"
#include "db/db.h"
#include "json/json.h"
#include "json/report.h"

namespace lathe::compute {

/// A compute target as people asked for it.
struct Target {
  std::string name;
  std::string type = "amlcompute";  ///< or computeinstance
  std::string size;
  std::int64_t min_instances = 0;
  std::int64_t max_instances = 1;
  std::int64_t idle_s = 120;
  std::string description;
  std::map<std::string, std::string> tags;
  std::string created_by;
  Time created{};
  bool low_priority = false;
  Instance instance;  ///< of a compute instance
  std::int64_t max_instances_per_user = 0;  ///< how many of its nodes one user's jobs may have at once; 0: any number
  std::optional<Partition> partition = {};  ///< of type slurm: an engine runs its jobs

  bool is_instance() const { return type == "computeinstance"; }
};

/// Reads an Azure document, `amlcompute` or `computeinstance`, over `base` (the target as it is, for an update). What is
/// not honoured goes into `report`. Errors: `invalid`, beginning with the field.
Result<Target> read_target(const json::Object& document, const Target& base, const Sizes& sizes, json::Report& report);

/// The scheduler's view of it, on a machine of which `reserved` belongs to instances and deployments.
/// Errors: `invalid` — the machine has no such size any more.
Result<Rules> rules_of(const Target& target, const Sizes& sizes, const Resources& reserved);

Result<std::vector<Target>> all_targets(db::Connection& c);
/// Errors: `conflict` — the name is taken.
Result<void> insert_target(db::Connection& c, const Target& target);
Result<void> update_target(db::Connection& c, const Target& target);
Result<void> delete_target(db::Connection& c, const std::string& name);

}  // namespace lathe::compute
