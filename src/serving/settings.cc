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
    if (key == "max_concurrent_requests_per_instance" || key == "max_queue_wait_ms")
      report.push_back({"request_settings." + key, "ignored", "up to " + std::to_string(spec.max_queue) +
                                                                  " requests wait, as long as request_timeout_ms allows"});
    else if (key != "request_timeout_ms")
      return fail(Code::invalid, "request_settings." + printable(key) + ": " +
                                     unknown_name("field", key, {"request_timeout_ms", "max_concurrent_requests_per_instance",
                                                                 "max_queue_wait_ms"}));
  }
  LATHE_TRY(const auto timeout, number_between(*settings, "request_settings.", "request_timeout_ms", 1, kMostTimeoutMs));
  if (timeout) spec.request_timeout_ms = *timeout;
  return {};
}

}  // namespace

Result<void> Serving::read_settings(const json::Object& document, Deployment& deployment, json::Report& report) const {
  LATHE_CHECK(assets::check_fields(
      document,
      {"name", "endpoint_name", "model", "instance_count", "instance_type", "request_settings", "description", "tags", "type",
       "code_configuration", "environment", "scale_settings"},
      {{"environment_variables", "no code of yours runs in the data plane"},
       {"model_mount_path", "models are read where they are"},
       {"app_insights_enabled", "/metrics of the data plane tells"},
       {"liveness_probe", "the data plane watches itself"},
       {"readiness_probe", "a model answers as soon as it is loaded and warm"},
       {"data_collector", "requests are not recorded"},
       {"egress_public_network_access", "models call nobody"},
       {"properties", "Lathe keeps tags, not properties"}},
      report));
  if (json::find(document, "code_configuration") != nullptr)
    return fail(Code::invalid,
                "code_configuration: scoring scripts are not run yet: leave it out, and the model itself is served "
                "(XGBoost and ONNX)");
  if (json::find(document, "environment") != nullptr)
    report.push_back({"environment", "ignored", "XGBoost and ONNX models are served by Lathe's own runtimes"});
  LATHE_TRY(const auto* scale, json::get_object(document, "scale_settings"));
  if (scale != nullptr) {
    const auto type = json::get_string(*scale, "type");
    if (!type || type->value_or("default") != "default")
      report.push_back({"scale_settings", "ignored", "one data plane uses all cores of this machine"});
  }
  LATHE_TRY(const auto type, json::get_string(document, "type"));
  if (type && *type != "managed")
    report.push_back({"type", "substituted", "by managed: predictions are answered on the server's machine"});
  LATHE_TRY(const auto instance_type, json::get_string(document, "instance_type"));
  if (instance_type) deployment.spec.instance_type = *instance_type;
  LATHE_TRY(const auto instances, number_between(document, "", "instance_count", 1, kMostInstances));
  if (instances) deployment.spec.instance_count = *instances;
  if ((instance_type || instances) && !deployment.spec.instance_type.empty()) {
    LATHE_TRY(const auto found, compute_.check_reservation({deployment.name, deployment.spec.instance_type, deployment.spec.instance_count}));
    report.insert(report.end(), found.begin(), found.end());
  }
  LATHE_CHECK(read_request_settings(document, deployment.spec, report));
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  if (description) deployment.description = *description;
  if (document.contains("tags")) {
    LATHE_TRY(deployment.tags, assets::read_tags(document));
  }
  return {};
}

Result<void> Serving::resolve_model(const std::string& reference, Spec& spec) {
  const auto version = models_.find(reference);
  if (!version) return fail_in("model", version.error());
  const auto content = models_.content(*version);
  if (!content) return fail_in("model", content.error());
  if (const auto filled = fill_model(models_.assets().blobs(), *content, spec); !filled)
    return fail_in("model", filled.error());
  spec.model_name = version->name;
  spec.model_version = std::to_string(version->version);
  spec.model = "azureml:" + spec.model_name + ":" + spec.model_version;
  return {};
}

Result<void> fill_model(const assets::BlobStore& blobs, const assets::ModelContent& content, Spec& spec) {
  LATHE_TRY(const auto tree, blobs.tree(content.tree));
  LATHE_TRY(const auto format, find_format(content.flavors, tree));
  LATHE_TRY(const auto folder, blobs.view(content.tree));
  spec.format = format.format;
  spec.file = format.file;
  spec.folder = folder.string();
  spec.files.clear();
  for (const auto& file : tree.files) spec.files.push_back({file.path, file.sha256, file.size});
  spec.feature_names.clear();
  if (const auto mlmodel = read_file(folder / "MLmodel", std::size_t{4} << 20)) spec.feature_names = feature_names(*mlmodel);
  return {};
}

}  // namespace lathe::serving
