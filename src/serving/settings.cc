#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "serving/model_format.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

constexpr std::int64_t kMostInstances = 64;
constexpr std::int64_t kMostTimeoutMs = 600'000;

Result<std::optional<std::int64_t>> number_between(const json::Object& object, const std::string& path, std::string_view key,
                                                   std::int64_t least, std::int64_t most) {
  const auto value = json::get_int(object, key);
  if (value && (!*value || (**value >= least && **value <= most))) return *value;
  return fail(Code::invalid, path + std::string(key) + ": must be a whole number from " + std::to_string(least) + " to " +
                                 std::to_string(most) + ", not " + json::print(*json::find(object, key)));
}

Result<void> read_request_settings(const json::Object& document, Spec& spec, json::Report& report) {
  LATHE_TRY(const auto* settings, json::get_object(document, "request_settings"));
  if (settings == nullptr) return {};
  for (const auto& member : *settings) {
    const std::string key(member.key().data(), member.key().size());
    const bool of_python = key == "max_concurrent_requests_per_instance" || key == "max_queue_wait_ms";
    if (of_python && !spec.python)
      report.push_back({"request_settings." + key, "ignored", "up to " + std::to_string(spec.max_queue) +
                                                                  " requests wait, as long as request_timeout_ms allows"});
    else if (!of_python && key != "request_timeout_ms")
      return fail(Code::invalid, "request_settings." + printable(key) + ": " +
                                     unknown_name("field", key, {"request_timeout_ms", "max_concurrent_requests_per_instance",
                                                                 "max_queue_wait_ms"}));
  }
  LATHE_TRY(const auto timeout, number_between(*settings, "request_settings.", "request_timeout_ms", 1, kMostTimeoutMs));
  if (timeout) spec.request_timeout_ms = *timeout;
  if (!spec.python) return {};
  LATHE_TRY(const auto wait, number_between(*settings, "request_settings.", "max_queue_wait_ms", 0, kMostTimeoutMs));
  if (wait) spec.python->max_queue_wait_ms = *wait;
  LATHE_TRY(const auto at_once, number_between(*settings, "request_settings.", "max_concurrent_requests_per_instance", 1, kMostInstances));
  if (at_once) spec.python->workers_per_instance = *at_once;
  if (at_once && *at_once > 1)
    report.push_back({"request_settings.max_concurrent_requests_per_instance", "substituted",
                      "by " + std::to_string(*at_once) + " worker processes for each instance: each computes one request at a time"});
  return {};
}

/// Azure's rules, and one more time of our own; `{"type": "default"}` takes them back.
Result<void> read_scale(const json::Object& document, Spec& spec, json::Report& report) {
  constexpr std::int64_t kHour = 3600;
  const std::string field = "scale_settings.";
  LATHE_TRY(const auto* settings, json::get_object(document, "scale_settings"));
  if (settings != nullptr) {
    const std::vector<std::string> known{"type", "min_instances", "max_instances", "target_utilization_percentage",
                                         "polling_interval", "idle_time_before_scale_down"};
    for (const auto& member : *settings)
      if (const std::string key(member.key().data(), member.key().size()); std::find(known.begin(), known.end(), key) == known.end())
        return fail(Code::invalid, field + printable(key) + ": " + unknown_name("field", key, known));
    auto type = json::get_string(*settings, "type");
    if (!type) return fail_in("scale_settings", type.error());
    if (!*type) *type = spec.scale ? spec.scale->type : "default";
    if (**type != "default" && **type != "target_utilization")
      return fail(Code::invalid, field + "type: must be target_utilization or default, not \"" + printable(**type) + "\"");
    if (**type == "default" && settings->size() > (settings->contains("type") ? 1U : 0U))
      return fail(Code::invalid, field + "type: must be target_utilization where numbers of instances are given");
    auto scale = spec.scale.value_or(ScaleSettings{});
    const auto read = [&](const char* key, std::int64_t ScaleSettings::*out, std::int64_t least, std::int64_t most) -> Result<void> {
      LATHE_TRY(const auto value, number_between(*settings, field, key, least, most));
      if (value) scale.*out = *value;
      return {};
    };
    LATHE_CHECK(read("min_instances", &ScaleSettings::min_instances, 0, kMostInstances));
    LATHE_CHECK(read("max_instances", &ScaleSettings::max_instances, 1, kMostInstances));
    LATHE_CHECK(read("target_utilization_percentage", &ScaleSettings::target_utilization_percentage, 1, 100));
    LATHE_CHECK(read("polling_interval", &ScaleSettings::polling_interval, 1, kHour));
    LATHE_CHECK(read("idle_time_before_scale_down", &ScaleSettings::idle_time_before_scale_down, 1, 7 * 24 * kHour));
    if (scale.min_instances > scale.max_instances)
      return fail(Code::invalid, field + "min_instances: is " + std::to_string(scale.min_instances) + ", more than max_instances (" +
                                     std::to_string(scale.max_instances) + ")");
    spec.scale = **type == "default" ? std::nullopt : std::optional(scale);
  }
  if (!spec.scale) return {};
  if (settings == nullptr && (spec.python || spec.scale->min_instances == 0)) return {};
  const auto quiet = std::to_string(spec.scale->idle_time_before_scale_down);
  if (spec.python)
    report.push_back({"scale_settings", "substituted",
                      "by worker processes on this machine, " + std::to_string(spec.scale->min_instances) + " to " +
                          std::to_string(spec.scale->max_instances) +
                          (spec.instance_type.empty() ? "" : "; the room of max_instances is kept from jobs all the time")});
  else if (spec.scale->min_instances == 0)
    report.push_back({"scale_settings", "substituted",
                      "by the model's leaving memory after " + quiet +
                          " s without a request, until the next one: while it is there, one data plane uses all cores of this machine"});
  else
    report.push_back({"scale_settings", "ignored", "the model is served by Lathe's own runtimes: one data plane uses all cores of this machine"});
  if (!spec.python && spec.scale->min_instances > 0) spec.scale.reset();
  return {};
}

/// Triton's settings of batching, cache and warm-up; `{}` takes back what was set before.
Result<void> read_config(const json::Object& document, Spec& spec, json::Report& report) {
  constexpr auto kField = "model_config";
  LATHE_TRY(const auto* config, json::get_object(document, kField));
  if (config != nullptr) {
    LATHE_TRY(auto read, read_model_config(*config, kField));
    LATHE_CHECK(check_model_config_fields(*config, kField, report));
    spec.model_config = read == ModelConfig{} ? std::nullopt : std::optional(std::move(read));
  }
  if (!spec.model_config || !spec.python) return {};
  return fail(Code::invalid, std::string(kField) +
                                 ": the model is computed by Python workers, which take one request at a time and may do "
                                 "other things than answer: nothing is batched, kept or tried out for them");
}

}  // namespace

Result<void> Serving::read_settings(const json::Object& document, Deployment& deployment, json::Report& report) const {
  LATHE_CHECK(assets::check_fields(
      document,
      {"name", "endpoint_name", "model", "instance_count", "instance_type", "request_settings", "description", "tags", "type",
       "code_configuration", "environment", "environment_variables", "scale_settings", "model_config", "data_collector"},
      {{"model_mount_path", "models are read where they are"},
       {"app_insights_enabled", "/metrics of the data plane tells"},
       {"liveness_probe", "the data plane watches itself"},
       {"readiness_probe", "a model answers as soon as it is loaded and warm"},
       {"egress_public_network_access", "models call nobody"},
       {"properties", "Lathe keeps tags, not properties"}},
      report));
  if (!deployment.spec.python) {
    constexpr auto kWhy = "the model is served by Lathe's own runtimes: no Python runs";
    for (const char* field : {"environment", "environment_variables"})
      if (json::find(document, field) != nullptr) report.push_back({field, "ignored", kWhy});
  }
  LATHE_TRY(const auto type, json::get_string(document, "type"));
  if (type && *type != "managed")
    report.push_back({"type", "substituted", "by managed: predictions are answered on the server's machine"});
  LATHE_TRY(const auto instance_type, json::get_string(document, "instance_type"));
  if (instance_type) deployment.spec.instance_type = *instance_type;
  LATHE_TRY(const auto instances, number_between(document, "", "instance_count", 1, kMostInstances));
  if (instances) deployment.spec.instance_count = *instances;
  LATHE_CHECK(read_scale(document, deployment.spec, report));
  const bool asks_for_room = instance_type || instances || json::find(document, "scale_settings") != nullptr;
  if (asks_for_room && !deployment.spec.instance_type.empty()) {
    LATHE_TRY(const auto found, compute_.check_reservation({deployment.name, deployment.spec.instance_type, deployment.spec.most_instances()}));
    report.insert(report.end(), found.begin(), found.end());
  }
  LATHE_CHECK(read_request_settings(document, deployment.spec, report));
  LATHE_CHECK(read_config(document, deployment.spec, report));
  if (document.contains("data_collector")) {
    LATHE_TRY(const auto* collector, json::get_object(document, "data_collector"));
    deployment.spec.data_collector.reset();
    if (collector != nullptr) {
      LATHE_TRY(deployment.spec.data_collector,
                read_data_collector(*collector, deployment.endpoint, deployment.name, report));
    }
  }
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  if (description) deployment.description = *description;
  if (document.contains("tags")) {
    LATHE_TRY(deployment.tags, assets::read_tags(document));
  }
  return {};
}

Result<void> Serving::resolve_model(const std::string& reference, Spec& spec, bool script) {
  const auto version = models_.find(reference);
  if (!version) return fail_in("model", version.error());
  const auto content = models_.content(*version);
  if (!content) return fail_in("model", content.error());
  const auto& blobs = models_.assets().blobs();
  const auto filled = script ? fill_files(blobs, *content, spec) : fill_model(blobs, *content, spec);
  if (!filled) return fail_in("model", filled.error());
  if (script) spec.format = "script";
  if (script || is_python(spec.format)) {
    if (!spec.python) spec.python.emplace();
    // What was uploaded has lost its name; Azure's examples call it so.
    const auto name = std::filesystem::path(content->path.starts_with("tree:") ? "" : content->path).filename().string();
    spec.python->model_folder = name.empty() ? "model" : name;
  } else {
    spec.python.reset();
  }
  spec.model_name = version->name;
  spec.model_version = std::to_string(version->version);
  spec.model = "azureml:" + spec.model_name + ":" + spec.model_version;
  return {};
}

Result<void> fill_files(const assets::BlobStore& blobs, const assets::ModelContent& content, Spec& spec) {
  LATHE_TRY(const auto tree, blobs.tree(content.tree));
  LATHE_TRY(const auto folder, blobs.view(content.tree));
  spec.format.clear();
  spec.file.clear();
  spec.folder = folder.string();
  spec.files.clear();
  for (const auto& file : tree.files) spec.files.push_back({file.path, file.sha256, file.size});
  spec.feature_names.clear();
  if (const auto mlmodel = read_file(folder / "MLmodel", std::size_t{4} << 20)) spec.feature_names = feature_names(*mlmodel);
  return {};
}

Result<void> fill_model(const assets::BlobStore& blobs, const assets::ModelContent& content, Spec& spec) {
  LATHE_TRY(const auto tree, blobs.tree(content.tree));
  LATHE_TRY(const auto format, find_format(content.flavors, tree));
  LATHE_CHECK(fill_files(blobs, content, spec));
  spec.format = format.format;
  spec.file = format.file;
  return {};
}

}  // namespace lathe::serving
