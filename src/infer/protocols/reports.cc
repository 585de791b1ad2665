#include "infer/protocols/reports.h"

#include <fmt/format.h>

#include <iterator>

#include "base/text.h"
#include "base/version.h"
#include "infer/capture/capture.h"
#include "infer/grpc/wire.h"
#include "infer/protocols/tensor_json.h"
#include "infer/sleeping_model.h"
#include "infer/warm_up.h"
#include "infer/workers/python_model.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

constexpr std::array<std::string_view, 9> kExtensions{"binary_tensor_data",  "classification",       "logging",
                                                      "model_configuration", "model_repository",     "schedule_policy",
                                                      "statistics",          "system_shared_memory", "trace"};

std::string full_name(const Deployment& deployment) {
  return deployment.endpoint + "." + deployment.name;
}

/// A number and how long they took together, under the name that Triton gives it.
struct Duration {
  const char* name;
  std::uint32_t field;
  std::uint64_t count;
  std::uint64_t ns;
};

std::array<Duration, 8> durations_of(const Totals& totals) {
  const auto done = totals.succeeded - totals.hits;
  return {{{"success", 1, totals.succeeded, totals.succeeded_ns},
           {"fail", 2, totals.failed, totals.failed_ns},
           {"queue", 3, done, totals.phase_ns[0]},
           {"compute_input", 4, done, totals.phase_ns[1]},
           {"compute_infer", 5, done, totals.phase_ns[2]},
           {"compute_output", 6, done, totals.phase_ns[3]},
           {"cache_hit", 7, totals.hits, totals.hit_ns},
           {"cache_miss", 8, totals.misses, totals.miss_ns}}};
}

void put_duration(std::string& out, const Duration& duration) {
  std::string message;
  wire::put_number(message, 1, duration.count);
  wire::put_number(message, 2, duration.ns);
  wire::put_bytes(out, duration.field, message);
}

/// The name and number of Triton's enumeration.
struct ConfigType {
  std::string name;
  std::uint64_t number;
};

ConfigType config_type(DataType type) {
  switch (type) {
    case DataType::boolean:
      return {"TYPE_BOOL", 1};
    case DataType::uint8:
      return {"TYPE_UINT8", 2};
    case DataType::uint16:
      return {"TYPE_UINT16", 3};
    case DataType::uint32:
      return {"TYPE_UINT32", 4};
    case DataType::uint64:
      return {"TYPE_UINT64", 5};
    case DataType::int8:
      return {"TYPE_INT8", 6};
    case DataType::int16:
      return {"TYPE_INT16", 7};
    case DataType::int32:
      return {"TYPE_INT32", 8};
    case DataType::int64:
      return {"TYPE_INT64", 9};
    case DataType::fp16:
      return {"TYPE_FP16", 10};
    case DataType::fp32:
      return {"TYPE_FP32", 11};
    case DataType::fp64:
      return {"TYPE_FP64", 12};
    case DataType::bytes:
      return {"TYPE_STRING", 13};
    default:
      return {"TYPE_BF16", 14};
  }
}

std::int64_t batch_size_of(const Deployment& deployment) {
  return deployment.config() != nullptr ? deployment.config()->max_batch_size : 0;
}

/// As the configuration tells dimensions: without the batch's, where the model has one.
std::vector<TensorInfo> config_infos(const Deployment& deployment, std::vector<TensorInfo> infos) {
  if (batch_size_of(deployment) > 0)
    for (auto& info : infos)
      if (!info.shape.empty()) info.shape.erase(info.shape.begin());
  return infos;
}

void append_config_tensors(std::string& out, const char* key, const std::vector<TensorInfo>& infos) {
  out += fmt::format(",\"{}\":[", key);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    out += i > 0 ? ",{\"name\":" : "{\"name\":";
    append_text(out, infos[i].name);
    out += ",\"data_type\":\"" + config_type(infos[i].type).name + "\",\"dims\":";
    append_shape(out, infos[i].shape);
    out += '}';
  }
  out += ']';
}

void put_config_tensors(std::string& out, std::uint32_t number, std::uint32_t dims_number,
                        const std::vector<TensorInfo>& infos) {
  for (const auto& info : infos) {
    std::string tensor;
    wire::put_text(tensor, 1, info.name);
    wire::put_number(tensor, 2, config_type(info.type).number);
    wire::put_list(tensor, dims_number, info.shape);
    wire::put_bytes(out, number, tensor);
  }
}

std::uint64_t unsigned_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

std::string policy_message(const QueuePolicy& policy) {
  std::string out;
  wire::put_number(out, 1, policy.timeout_action == "DELAY" ? 1 : 0);
  wire::put_number(out, 2, unsigned_of(policy.default_timeout_microseconds));
  wire::put_number(out, 3, policy.allow_timeout_override ? 1 : 0);
  wire::put_number(out, 4, unsigned_of(policy.max_queue_size));
  return out;
}

std::string batching_message(const DynamicBatching& batching) {
  std::string out;
  wire::put_list(out, 1, batching.preferred_batch_size);
  wire::put_number(out, 2, unsigned_of(batching.max_queue_delay_microseconds));
  wire::put_number(out, 3, batching.preserve_ordering ? 1 : 0);
  wire::put_number(out, 4, unsigned_of(batching.priority_levels));
  wire::put_number(out, 5, unsigned_of(batching.default_priority_level));
  wire::put_bytes(out, 6, policy_message(batching.default_queue_policy));
  for (const auto& [level, policy] : batching.priority_queue_policy) {
    std::string entry;
    wire::put_number(entry, 1, std::stoull(level));
    wire::put_bytes(entry, 2, policy_message(policy));
    wire::put_bytes(out, 7, entry);
  }
  return out;
}

std::string warmup_message(const Warmup& warmup) {
  std::string out;
  wire::put_text(out, 1, warmup.name);
  wire::put_number(out, 2, unsigned_of(warmup.batch_size));
  for (const auto& [name, input] : warmup.inputs) {
    std::string value;
    wire::put_number(value, 1, config_type(data_type_of(input)).number);
    wire::put_list(value, 2, input.dims);
    wire::put_number(value, input.zero_data ? 3 : 4, 1);
    std::string entry;
    wire::put_text(entry, 1, name);
    wire::put_bytes(entry, 2, value);
    wire::put_bytes(out, 3, entry);
  }
  wire::put_number(out, 4, unsigned_of(warmup.count));
  return out;
}

/// What a deployment may set of Triton's message ModelConfig.
void put_model_config(std::string& out, const ModelConfig& config) {
  if (config.dynamic_batching) wire::put_bytes(out, 11, batching_message(*config.dynamic_batching));
  for (const auto& each : config.model_warmup) wire::put_bytes(out, 16, warmup_message(each));
  if (!config.response_cache) return;
  std::string cache;
  wire::put_number(cache, 1, config.response_cache->enable ? 1 : 0);
  wire::put_bytes(out, 24, cache);
}

struct IndexEntry {
  std::string name;
  std::string version;
  std::string state;
  std::string reason;
};

IndexEntry entry_of(std::string name, const Deployment& deployment) {
  const auto* const sleeper = deployment.model->sleeper();
  auto trouble = sleeper != nullptr ? sleeper->trouble() : std::string{};
  const char* const state = trouble.empty() ? "READY" : "UNAVAILABLE";
  return {std::move(name), deployment.desired.model.version, state, std::move(trouble)};
}

std::vector<IndexEntry> index_of(const std::vector<const Endpoint*>& endpoints, bool ready_only) {
  std::vector<IndexEntry> out;
  const auto add = [&](IndexEntry entry) {
    if (!ready_only || entry.reason.empty()) out.push_back(std::move(entry));
  };
  for (const auto* const endpoint : endpoints) {
    if (!endpoint->split->empty())
      add(entry_of(endpoint->name, *endpoint->deployments[endpoint->split->main()]));
    else if (!ready_only)
      out.push_back({endpoint->name, "", "UNAVAILABLE", "no deployment takes traffic"});
    for (const auto& each : endpoint->deployments) add(entry_of(full_name(*each), *each));
    for (const auto& each : endpoint->others)
      if (!ready_only)
        out.push_back({endpoint->name + "." + each.name, each.version, each.error.empty() ? "LOADING" : "UNAVAILABLE",
                       each.error});
  }
  return out;
}

}  // namespace

std::string server_json() {
  std::string out = std::string(R"({"name":"lathe-infer","version":")") + version() + R"(","extensions":[)";
  for (const auto& each : kExtensions) {
    if (out.back() != '[') out += ',';
    append_text(out, each);
  }
  return out + "]}";
}

std::string server_message() {
  std::string out;
  wire::put_text(out, 1, "lathe-infer");
  wire::put_text(out, 2, version());
  for (const auto& each : kExtensions) wire::put_text(out, 3, each);
  return out;
}

std::string statistics_json(const std::vector<const Deployment*>& deployments) {
  std::string out = "{\"model_stats\":[";
  for (const auto* const each : deployments) {
    const auto totals = each->stats->totals();
    if (out.back() != '[') out += ',';
    out += "{\"name\":";
    append_text(out, full_name(*each));
    out += ",\"version\":";
    append_text(out, each->desired.model.version);
    fmt::format_to(std::back_inserter(out),
                   ",\"last_inference\":{},\"inference_count\":{},\"execution_count\":{},\"inference_stats\":{{",
                   totals.last_ms, totals.rows, totals.runs);
    for (const auto& one : durations_of(totals))
      fmt::format_to(std::back_inserter(out), "{}\"{}\":{{\"count\":{},\"ns\":{}}}", one.field > 1 ? "," : "", one.name,
                     one.count, one.ns);
    out += "},\"batch_stats\":[";
    for (const auto& [rows, sums] : each->stats->batches()) {
      if (out.back() != '[') out += ',';
      fmt::format_to(std::back_inserter(out),
                     "{{\"batch_size\":{0},\"compute_input\":{{\"count\":{1},\"ns\":{2}}},"
                     "\"compute_infer\":{{\"count\":{1},\"ns\":{3}}},"
                     "\"compute_output\":{{\"count\":{1},\"ns\":{4}}}}}",
                     rows, sums.count, sums.input_ns, sums.infer_ns, sums.output_ns);
    }
    out += "]}";
  }
  return out + "]}";
}

std::string statistics_message(const std::vector<const Deployment*>& deployments) {
  std::string out;
  for (const auto* const each : deployments) {
    const auto totals = each->stats->totals();
    std::string durations;
    for (const auto& one : durations_of(totals)) put_duration(durations, one);
    std::string model;
    wire::put_text(model, 1, full_name(*each));
    wire::put_text(model, 2, each->desired.model.version);
    wire::put_number(model, 3, totals.last_ms);
    wire::put_number(model, 4, totals.rows);
    wire::put_number(model, 5, totals.runs);
    wire::put_bytes(model, 6, durations);
    for (const auto& [rows, sums] : each->stats->batches()) {
      std::string batch;
      wire::put_number(batch, 1, rows);
      put_duration(batch, {"", 2, sums.count, sums.input_ns});
      put_duration(batch, {"", 3, sums.count, sums.infer_ns});
      put_duration(batch, {"", 4, sums.count, sums.output_ns});
      wire::put_bytes(model, 7, batch);
    }
    wire::put_bytes(out, 1, model);
  }
  return out;
}

std::string endpoint_statistics_json(const Endpoint& endpoint) {
  std::string out = "{\"name\":";
  append_text(out, endpoint.name);
  out += ",\"deployments\":[";
  for (const auto& each : endpoint.deployments) {
    out += out.back() == '[' ? "{\"name\":" : ",{\"name\":";
    append_text(out, each->name);
    out += ",\"version\":";
    append_text(out, each->desired.model.version);
    fmt::format_to(std::back_inserter(out), ",\"instances\":{}", each->instances());
    out += ",\"counts\":{";
    each->stats->append_summary(out);
    out += "}}";
  }
  return out + "]}";
}

std::string config_json(std::string_view model_name, const Deployment& deployment) {
  std::string out = "{\"name\":";
  append_text(out, model_name);
  out += ",\"platform\":";
  append_text(out, deployment.model->platform());
  fmt::format_to(std::back_inserter(out), ",\"max_batch_size\":{}", batch_size_of(deployment));
  append_config_tensors(out, "input", config_infos(deployment, deployment.model->inputs()));
  append_config_tensors(out, "output", config_infos(deployment, deployment.model->outputs()));
  out += ",\"instance_group\":[{\"name\":";
  append_text(out, deployment.name);
  fmt::format_to(std::back_inserter(out),
                 ",\"kind\":\"KIND_CPU\",\"count\":{}}}],\"default_model_filename\":", deployment.desired.instances);
  append_text(out, deployment.desired.model.file);
  if (deployment.config() != nullptr) {
    const auto set = json::to_json(*deployment.config());
    for (const auto& member : set.get_object())
      if (member.key() != "max_batch_size")
        out += ",\"" + std::string(member.key()) + "\":" + json::print(member.value());
  }
  return out + "}";
}

std::string config_message(std::string_view model_name, const Deployment& deployment) {
  std::string group;
  wire::put_text(group, 1, deployment.name);
  wire::put_number(group, 2, static_cast<std::uint64_t>(deployment.desired.instances));
  wire::put_number(group, 4, 2);  // KIND_CPU
  std::string config;
  wire::put_text(config, 1, model_name);
  wire::put_text(config, 2, deployment.model->platform());
  wire::put_number(config, 4, static_cast<std::uint64_t>(batch_size_of(deployment)));
  put_config_tensors(config, 5, 4, config_infos(deployment, deployment.model->inputs()));
  put_config_tensors(config, 6, 3, config_infos(deployment, deployment.model->outputs()));
  wire::put_bytes(config, 7, group);
  wire::put_text(config, 8, deployment.desired.model.file);
  if (deployment.config() != nullptr) put_model_config(config, *deployment.config());
  std::string out;
  wire::put_bytes(out, 1, config);
  return out;
}

std::string index_json(const std::vector<const Endpoint*>& endpoints, bool ready_only) {
  std::string out = "[";
  for (const auto& each : index_of(endpoints, ready_only)) {
    out += out.size() > 1 ? ",{\"name\":" : "{\"name\":";
    append_text(out, each.name);
    out += ",\"version\":";
    append_text(out, each.version);
    out += ",\"state\":";
    append_text(out, each.state);
    out += ",\"reason\":";
    append_text(out, each.reason);
    out += '}';
  }
  return out + "]";
}

std::string index_message(const std::vector<const Endpoint*>& endpoints, bool ready_only) {
  std::string out;
  for (const auto& each : index_of(endpoints, ready_only)) {
    std::string model;
    wire::put_text(model, 1, each.name);
    wire::put_text(model, 2, each.version);
    wire::put_text(model, 3, each.state);
    wire::put_text(model, 4, each.reason);
    wire::put_bytes(out, 1, model);
  }
  return out;
}

Result<bool> wants_ready_json(std::string_view body) {
  if (trim(body).empty()) return false;
  LATHE_TRY(const auto object, json::parse_object(body));
  LATHE_TRY(const auto ready, json::get_bool(object, "ready"));
  return ready.value_or(false);
}

Result<bool> wants_ready_message(std::string_view message) {
  bool ready = false;
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field))
    if (field.number == 2) ready = field.flag();
  if (!reader.good()) return fail(Code::invalid, "the request is not a message of the protocol");
  return ready;
}

std::string metrics_text(const Catalog& catalog) {
  struct Row {
    std::string labels;
    std::string triton_labels;
    const Stats* stats;
    Totals totals;
    std::size_t pending;
    int instances;
    const SleepingModel* sleeper;
    const PythonModel* python;  ///< of one whose workers follow the load
  };
  std::vector<Row> rows;
  for (const auto& [name, endpoint] : catalog.endpoints)
    for (const auto& each : endpoint.deployments)
      rows.push_back({"endpoint=\"" + name + "\",deployment=\"" + each->name + "\"",
                      "model=\"" + full_name(*each) + "\",version=\"" + each->desired.model.version + "\"",
                      each->stats.get(), each->stats->totals(), each->pending(), each->instances(),
                      each->model->sleeper(), each->desired.model.scale ? each->model->python() : nullptr});
  std::string out =
      "# HELP lathe_infer_requests_total Predictions asked for, by HTTP status.\n"
      "# TYPE lathe_infer_requests_total counter\n";
  for (const auto& row : rows) row.stats->append_requests(out, row.labels);
  out +=
      "# HELP lathe_infer_mirrored_requests_total Copies of requests, which are counted as requests, too, when "
      "computed.\n"
      "# TYPE lathe_infer_mirrored_requests_total counter\n";
  for (const auto& row : rows) row.stats->append_copies(out, row.labels);
  out +=
      "# HELP lathe_infer_request_duration_seconds Time to decode, run and encode, without waiting.\n"
      "# TYPE lathe_infer_request_duration_seconds histogram\n";
  for (const auto& row : rows) row.stats->append_durations(out, row.labels);
  out +=
      "# HELP lathe_infer_phase_duration_seconds Where the time of predictions goes.\n"
      "# TYPE lathe_infer_phase_duration_seconds histogram\n";
  for (const auto& row : rows) row.stats->append_phases(out, row.labels);

  out +=
      "# HELP lathe_infer_instances Worker processes that are ready, or sessions of a native runtime.\n"
      "# TYPE lathe_infer_instances gauge\n";
  for (const auto& row : rows)
    fmt::format_to(std::back_inserter(out), "lathe_infer_instances{{{}}} {}\n", row.labels, row.instances);

  out +=
      "# HELP lathe_infer_wakes_total How often a model that had left memory was loaded again.\n"
      "# TYPE lathe_infer_wakes_total counter\n";
  for (const auto& row : rows)
    if (row.sleeper != nullptr)
      fmt::format_to(std::back_inserter(out), "lathe_infer_wakes_total{{{}}} {}\n", row.labels, row.sleeper->wakes());

  out +=
      "# HELP lathe_infer_parked_interpreters Python processes that wait, with their modules imported, for a wake.\n"
      "# TYPE lathe_infer_parked_interpreters gauge\n";
  for (const auto& row : rows)
    if (row.python != nullptr)
      fmt::format_to(std::back_inserter(out), "lathe_infer_parked_interpreters{{{}}} {}\n", row.labels,
                     row.python->workers()->parked());

  out +=
      "# HELP lathe_infer_rate_limited_total Predictions refused since their key asked too often.\n"
      "# TYPE lathe_infer_rate_limited_total counter\n";
  for (const auto& [name, endpoint] : catalog.endpoints)
    if (endpoint.rate_limit)
      fmt::format_to(std::back_inserter(out), "lathe_infer_rate_limited_total{{endpoint=\"{}\"}} {}\n", name,
                     endpoint.rate_limit->refused());

  out +=
      "# HELP lathe_infer_captured_total Lines of captured data: written, or dropped since too many waited or the disk "
      "was full.\n"
      "# TYPE lathe_infer_captured_total counter\n";
  for (const auto& [name, endpoint] : catalog.endpoints)
    for (const auto& each : endpoint.deployments)
      if (each->capture)
        fmt::format_to(std::back_inserter(out),
                       "lathe_infer_captured_total{{endpoint=\"{0}\",deployment=\"{1}\",result=\"written\"}} {2}\n"
                       "lathe_infer_captured_total{{endpoint=\"{0}\",deployment=\"{1}\",result=\"dropped\"}} {3}\n",
                       name, each->name, each->capture->counts->written.load(), each->capture->counts->dropped.load());

  struct Family {
    const char* name;
    const char* help;
    std::uint64_t (*value)(const Totals&);
  };
  static constexpr Family kTritons[] = {
      {"nv_inference_request_success", "Requests that succeeded", [](const Totals& t) { return t.succeeded; }},
      {"nv_inference_request_failure", "Requests that failed", [](const Totals& t) { return t.failed; }},
      {"nv_inference_count", "Rows that were predicted", [](const Totals& t) { return t.rows; }},
      {"nv_inference_exec_count", "Runs of the model", [](const Totals& t) { return t.runs; }},
      {"nv_inference_request_duration_us", "Time of requests", [](const Totals& t) { return t.succeeded_ns / 1000; }},
      {"nv_inference_queue_duration_us", "Time in the queue", [](const Totals& t) { return t.phase_ns[0] / 1000; }},
      {"nv_inference_compute_input_duration_us", "Time to decode",
       [](const Totals& t) { return t.phase_ns[1] / 1000; }},
      {"nv_inference_compute_infer_duration_us", "Time to run", [](const Totals& t) { return t.phase_ns[2] / 1000; }},
      {"nv_inference_compute_output_duration_us", "Time to encode",
       [](const Totals& t) { return t.phase_ns[3] / 1000; }},
      {"nv_cache_num_hits_per_model", "Answers from the response cache", [](const Totals& t) { return t.hits; }},
      {"nv_cache_num_misses_per_model", "Requests that were not in the response cache",
       [](const Totals& t) { return t.misses; }},
      {"nv_cache_hit_duration_per_model", "Time to look up what was there, in microseconds",
       [](const Totals& t) { return t.hit_ns / 1000; }},
      {"nv_cache_miss_duration_per_model", "Time to look up and to put there what was not, in microseconds",
       [](const Totals& t) { return t.miss_ns / 1000; }}};
  for (const auto& family : kTritons) {
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} counter\n", family.name, family.help, family.name);
    for (const auto& row : rows)
      fmt::format_to(std::back_inserter(out), "{}{{{}}} {}\n", family.name, row.triton_labels,
                     family.value(row.totals));
  }
  out +=
      "# HELP nv_inference_pending_request_count Requests that wait for their turn\n"
      "# TYPE nv_inference_pending_request_count gauge\n";
  for (const auto& row : rows)
    fmt::format_to(std::back_inserter(out), "nv_inference_pending_request_count{{{}}} {}\n", row.triton_labels,
                   row.pending);
  return out;
}

}  // namespace lathe::infer
