#include "mlflow/wire.h"

#include <fmt/format.h>

#include "json/hot.h"

namespace lathe::mlflow {
namespace {

template <class Pairs>
json::Array pairs(const Pairs& items) {
  json::Array out;
  out.reserve(items.size());
  for (const auto& item : items) out.push_back(json::Object{{"key", item.key}, {"value", item.value}});
  return out;
}

/// protobuf leaves empty lists and unset fields out.
void put(json::Object& out, std::string_view name, json::Array list) {
  if (!list.empty()) out[name] = std::move(list);
}
void put(json::Object& out, std::string_view name, const std::string& text) {
  if (!text.empty()) out[name] = text;
}

/// `"name":[{"key":...,"value":...},...]`; `add_value` writes what follows "value".
template <class List, class F>
void append_list(std::string& out, std::size_t begun, std::string_view name, const List& list, F add_value) {
  if (list.empty()) return;
  if (out.size() > begun) out += ',';
  out.append(1, '"').append(name).append(R"(":[)");
  for (const auto& item : list) {
    out += &item == &list.front() ? R"({"key":)" : R"(,{"key":)";
    json::append(out, item.key);
    out += R"(,"value":)";
    add_value(item);
    out += '}';
  }
  out += ']';
}

json::Object inputs(const tracking::RunLineage& lineage) {
  json::Array datasets;
  for (const auto& input : lineage.datasets) {
    json::Object dataset{{"name", input.dataset.name},
                         {"digest", input.dataset.digest},
                         {"source_type", input.dataset.source_type},
                         {"source", input.dataset.source}};
    put(dataset, "schema", input.dataset.schema.value_or(""));
    put(dataset, "profile", input.dataset.profile.value_or(""));
    json::Object one;
    put(one, "tags", pairs(input.tags));
    one["dataset"] = std::move(dataset);
    datasets.push_back(std::move(one));
  }
  json::Array models;
  for (const auto& model : lineage.model_inputs) models.push_back(json::Object{{"model_id", model.model_id}});
  json::Object out;
  put(out, "dataset_inputs", std::move(datasets));
  put(out, "model_inputs", std::move(models));
  return out;
}

json::Object outputs(const tracking::RunLineage& lineage) {
  json::Array made;
  for (const auto& model : lineage.model_outputs)
    made.push_back(json::Object{{"model_id", model.model_id}, {"step", model.step}});
  return {{"model_outputs", std::move(made)}};
}

}  // namespace

json::Object to_wire(const tracking::Metric& metric) {
  return {{"key", metric.key}, {"value", metric.value}, {"timestamp", metric.timestamp_ms}, {"step", metric.step}};
}

json::Object to_wire(const tracking::Experiment& experiment) {
  json::Object out{
      {"experiment_id", fmt::to_string(experiment.id)},    {"name", experiment.name},
      {"artifact_location", experiment.artifact_location}, {"lifecycle_stage", tracking::stage_name(experiment.stage)},
      {"last_update_time", experiment.updated_us / 1000},  {"creation_time", experiment.created_us / 1000}};
  put(out, "tags", pairs(experiment.tags));
  return out;
}

json::Object to_wire(const tracking::RunInfo& run) {
  json::Object out{{"run_uuid", run.run_id},
                   {"run_id", run.run_id},
                   {"run_name", run.run_name},
                   {"experiment_id", fmt::to_string(run.experiment_id)},
                   {"user_id", run.user},
                   {"status", tracking::status_name(run.status)},
                   {"start_time", run.start_ms},
                   {"artifact_uri", run.artifact_uri},
                   {"lifecycle_stage", tracking::stage_name(run.stage)}};
  if (run.end_ms) out["end_time"] = *run.end_ms;
  return out;
}

void append(std::string& out, const tracking::Run& run, const tracking::RunLineage& lineage) {
  out.append(R"({"info":)").append(json::print(to_wire(run.info))).append(R"(,"data":{)");
  const auto begun = out.size();
  append_list(out, begun, "metrics", run.metrics, [&](const tracking::Metric& metric) {
    json::append(out, metric.value);
    out += R"(,"timestamp":)";
    json::append(out, metric.timestamp_ms);
    out += R"(,"step":)";
    json::append(out, metric.step);
  });
  append_list(out, begun, "params", run.params, [&](const tracking::Param& param) { json::append(out, param.value); });
  append_list(out, begun, "tags", run.tags, [&](const tracking::Tag& tag) { json::append(out, tag.value); });
  out.append(R"(},"inputs":)").append(json::print(inputs(lineage)));
  if (!lineage.model_outputs.empty()) out.append(R"(,"outputs":)").append(json::print(outputs(lineage)));
  out += '}';
}

json::Object to_wire(const tracking::LoggedModel& model) {
  json::Object info{{"model_id", model.model_id},
                    {"experiment_id", fmt::to_string(model.experiment_id)},
                    {"name", model.name},
                    {"creation_timestamp_ms", model.created_ms},
                    {"last_updated_timestamp_ms", model.updated_ms},
                    {"artifact_uri", model.artifact_uri},
                    {"status", model.status}};
  put(info, "model_type", model.model_type);
  put(info, "source_run_id", model.source_run_id);
  put(info, "tags", pairs(model.tags));
  json::Array metrics;
  for (const auto& point : model.metrics) {
    auto one = to_wire(point.metric);
    one["model_id"] = model.model_id;
    put(one, "dataset_name", point.metric.dataset_name);
    put(one, "dataset_digest", point.metric.dataset_digest);
    put(one, "run_id", point.run_id);
    metrics.push_back(std::move(one));
  }
  json::Object data;
  put(data, "params", pairs(model.params));
  put(data, "metrics", std::move(metrics));
  return {{"info", std::move(info)}, {"data", std::move(data)}};
}

json::Object to_wire(const registry::Version& version) {
  json::Object out{{"name", version.name},
                   {"version", fmt::to_string(version.version)},
                   {"creation_timestamp", version.created_us / 1000},
                   {"last_updated_timestamp", version.updated_us / 1000},
                   {"current_stage", version.stage},
                   {"source", version.source},
                   {"status", version.status},
                   // also when empty: clients show None for a field that is not there, and MLflow's server sends it
                   {"description", version.description},
                   {"run_id", version.run_id}};
  put(out, "user_id", version.created_by);
  put(out, "run_link", version.run_link);
  put(out, "model_id", version.model_id);
  put(out, "tags", pairs(version.tags));
  json::Array aliases;
  for (const auto& alias : version.aliases) aliases.emplace_back(alias);
  put(out, "aliases", std::move(aliases));
  return out;
}

json::Object to_wire(const registry::Model& model, const std::vector<registry::Version>& latest) {
  json::Object out{{"name", model.name},
                   {"creation_timestamp", model.created_us / 1000},
                   {"last_updated_timestamp", model.updated_us / 1000}};
  put(out, "user_id", model.created_by);
  put(out, "description", model.description);
  json::Array versions;
  for (const auto& version : latest) versions.push_back(to_wire(version));
  put(out, "latest_versions", std::move(versions));
  put(out, "tags", pairs(model.tags));
  json::Array aliases;
  for (const auto& alias : model.aliases)
    aliases.push_back(json::Object{{"alias", alias.name}, {"version", fmt::to_string(alias.version)}});
  put(out, "aliases", std::move(aliases));
  return out;
}

json::Array to_wire(const std::vector<storage::Entry>& entries, const std::string& prefix) {
  json::Array out;
  out.reserve(entries.size());
  for (const auto& entry : entries) {
    json::Object file{{"path", prefix + entry.name}, {"is_dir", entry.folder}};
    if (!entry.folder) file["file_size"] = static_cast<std::int64_t>(entry.size);
    out.push_back(std::move(file));
  }
  return out;
}

}  // namespace lathe::mlflow
