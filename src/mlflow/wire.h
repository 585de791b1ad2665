#pragma once

#include "json/json.h"
#include "registry/registry.h"
#include "storage/storage.h"
#include "tracking/lineage.h"

/// MLflow's JSON forms: protobuf's mapping with snake_case names and int64 as numbers.
namespace lathe::mlflow {

json::Object to_wire(const tracking::Metric& metric);
json::Object to_wire(const tracking::Experiment& experiment);
json::Object to_wire(const tracking::RunInfo& run);
/// Adds a run with all it logged: a text, since a page may hold thousands.
void append(std::string& out, const tracking::Run& run, const tracking::RunLineage& lineage);
json::Object to_wire(const tracking::LoggedModel& model);
json::Object to_wire(const registry::Model& model, const std::vector<registry::Version>& latest);
json::Object to_wire(const registry::Version& version);
/// `prefix` goes before each name: paths relative to the run's root.
json::Array to_wire(const std::vector<storage::Entry>& entries, const std::string& prefix);

}  // namespace lathe::mlflow
