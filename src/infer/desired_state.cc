#include "infer/desired_state.h"

#include <unistd.h>

#include <algorithm>

#include "base/utf8.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

template <class Read>
Result<void> each_object(const json::Object& parent, std::string_view key, Read read) {
  LATHE_TRY(const auto* const list, json::get_array(parent, key));
  if (list == nullptr) return {};
  for (const auto& item : *list) {
    if (!item.is_object()) return fail(Code::invalid, "\"" + std::string(key) + "\" must hold objects");
    LATHE_CHECK(read(item.get_object()));
  }
  return {};
}

Result<std::vector<std::string>> texts(const json::Object& parent, std::string_view key) {
  std::vector<std::string> out;
  LATHE_TRY(const auto* const list, json::get_array(parent, key));
  if (list == nullptr) return out;
  for (const auto& item : *list) {
    if (!item.is_string()) return fail(Code::invalid, "\"" + std::string(key) + "\" must hold texts");
    out.emplace_back(json::view(item.get_string()));
  }
  return out;
}

Result<int> number(const json::Object& parent, std::string_view key, int absent, int least, int most) {
  LATHE_TRY(const auto value, json::get_int(parent, key));
  return static_cast<int>(std::clamp<std::int64_t>(value.value_or(absent), least, most));
}

Result<std::vector<std::pair<std::string, std::string>>> pairs(const json::Object& parent, std::string_view key) {
  std::vector<std::pair<std::string, std::string>> out;
  LATHE_TRY(const auto* const object, json::get_object(parent, key));
  if (object == nullptr) return out;
  for (const auto& member : *object) {
    const std::string name(member.key().data(), member.key().size());
    LATHE_TRY(auto value, json::need_string(*object, name));
    out.emplace_back(name, std::move(value));
  }
  return out;
}

Result<std::vector<int>> numbers(const json::Object& parent, std::string_view key) {
  std::vector<int> out;
  LATHE_TRY(const auto* const list, json::get_array(parent, key));
  if (list == nullptr) return out;
  for (const auto& item : *list) {
    if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() > 1'000'000)
      return fail(Code::invalid, "\"" + std::string(key) + "\" must hold numbers");
    out.push_back(static_cast<int>(item.get_int64()));
  }
  return out;
}

Result<std::optional<DesiredPython>> read_python(const json::Object& model) {
  LATHE_TRY(const auto* const object, json::get_object(model, "python"));
  if (object == nullptr) return std::nullopt;
  DesiredPython python;
  LATHE_TRY(python.interpreter, json::need_string(*object, "interpreter"));
  LATHE_TRY(python.library, json::need_string(*object, "library"));
  const auto text = [&](const char* key, std::string& out) -> Result<void> {
    LATHE_TRY(auto value, json::get_string(*object, key));
    if (value) out = std::move(*value);
    return {};
  };
  LATHE_CHECK(text("environment", python.environment));
  LATHE_CHECK(text("code", python.code));
  LATHE_CHECK(text("script", python.script));
  LATHE_CHECK(text("model_folder", python.model_folder));
  LATHE_CHECK(text("isolation", python.isolation));
  LATHE_TRY(python.variables, pairs(*object, "variables"));
  LATHE_TRY(const auto* const image, json::get_object(*object, "image"));
  if (image != nullptr) {
    python.image.emplace();
    LATHE_TRY(python.image->root, json::need_string(*image, "root"));
    LATHE_TRY(python.image->variables, pairs(*image, "variables"));
    LATHE_TRY(python.image->shim, json::need_string(*image, "shim"));
  }
  LATHE_CHECK(each_object(*object, "gpus", [&](const json::Object& one) -> Result<void> {
    DesiredGpus gpus;
    LATHE_TRY(gpus.numbers, numbers(one, "numbers"));
    LATHE_TRY(gpus.variables, pairs(one, "variables"));
    LATHE_TRY(gpus.hidden, numbers(one, "hidden"));
    python.gpus.push_back(std::move(gpus));
    return {};
  }));
  LATHE_TRY(python.workers_per_instance, number(*object, "workers_per_instance", 1, 1, 1024));
  LATHE_TRY(python.account, number(*object, "account", 0, 0, 2'000'000'000));
  LATHE_TRY(const auto network, json::get_bool(*object, "network"));
  python.network = network.value_or(true);
  LATHE_TRY(const auto memory, json::get_int(*object, "memory_bytes"));
  python.memory_bytes = std::max<std::int64_t>(memory.value_or(0), 0);
  LATHE_TRY(python.cores, number(*object, "cores", 1, 1, 1024));
  LATHE_TRY(python.workers, number(*object, "workers", 1, 1, 1024));
  LATHE_TRY(python.request_timeout_ms, number(*object, "request_timeout_ms", 5000, 1, 3'600'000));
  LATHE_TRY(python.max_queue_wait_ms, number(*object, "max_queue_wait_ms", 500, 0, 3'600'000));
  LATHE_TRY(python.max_queue, number(*object, "max_queue", 100, 0, 1'000'000));
  return std::optional(std::move(python));
}

Result<std::optional<DesiredScale>> read_scale(const json::Object& model) {
  constexpr int kMost = 1024;
  constexpr int kDay = 24 * 3600 * 1000;
  LATHE_TRY(const auto* const object, json::get_object(model, "scale"));
  if (object == nullptr) return std::nullopt;
  DesiredScale scale;
  LATHE_TRY(scale.least, number(*object, "min", scale.least, 0, kMost));
  LATHE_TRY(scale.most, number(*object, "max", scale.most, std::max(scale.least, 1), kMost));
  LATHE_TRY(scale.target_percent, number(*object, "target_percent", scale.target_percent, 1, 100));
  LATHE_TRY(scale.polling_ms, number(*object, "polling_ms", scale.polling_ms, 10, kDay));
  LATHE_TRY(scale.quiet_ms, number(*object, "quiet_ms", scale.quiet_ms, 10, 7 * kDay));
  return std::optional(scale);
}

Result<DesiredModel> read_model(const json::Object& object) {
  DesiredModel model;
  LATHE_TRY(model.name, json::need_string(object, "name"));
  LATHE_TRY(model.version, json::need_string(object, "version"));
  LATHE_TRY(model.format, json::need_string(object, "format"));
  LATHE_TRY(model.folder, json::need_string(object, "folder"));
  LATHE_TRY(model.python, read_python(object));
  LATHE_TRY(model.scale, read_scale(object));
  LATHE_TRY(const auto* const config, json::get_object(object, "config"));
  if (config != nullptr) {
    auto read = read_model_config(*config, "model_config");
    if (read)
      model.config = std::move(*read);
    else
      model.config_error = read.error().message;  // of this deployment alone
  }
  LATHE_TRY(auto main_file, json::get_string(object, "file"));
  if (!main_file && !model.python) return fail(Code::invalid, "\"file\" of model " + model.name + " is missing");
  model.file = main_file.value_or("");
  LATHE_TRY(model.feature_names, texts(object, "feature_names"));
  LATHE_CHECK(each_object(object, "files", [&](const json::Object& file) -> Result<void> {
    DesiredFile out;
    LATHE_TRY(out.path, json::need_string(file, "path"));
    LATHE_TRY(out.sha256, json::need_string(file, "sha256"));
    LATHE_TRY(const auto size, json::get_int(file, "size"));
    out.size = size.value_or(-1);
    model.files.push_back(std::move(out));
    return {};
  }));
  return model;
}

Result<std::optional<DesiredCapture>> read_capture(const json::Object& deployment) {
  constexpr std::size_t kMostCollections = 32;
  LATHE_TRY(const auto* const object, json::get_object(deployment, "capture"));
  if (object == nullptr) return std::nullopt;
  DesiredCapture capture;
  LATHE_TRY(const auto rate, json::get_string(*object, "rolling_rate"));
  if (rate) capture.rolling_rate = *rate;
  LATHE_TRY(capture.headers, texts(*object, "headers"));
  LATHE_CHECK(each_object(*object, "collections", [&](const json::Object& one) -> Result<void> {
    DesiredCollection collection;
    LATHE_TRY(collection.name, json::need_string(one, "name"));
    LATHE_TRY(const auto sampling, json::get_double(one, "sampling_rate"));
    collection.sampling_rate = std::clamp(sampling.value_or(1), 0.0, 1.0);
    // The name is a folder's.
    const bool good = !collection.name.empty() && collection.name.find_first_of("./") == std::string::npos;
    if (good && capture.collections.size() < kMostCollections) capture.collections.push_back(std::move(collection));
    return {};
  }));
  return std::optional(std::move(capture));
}

Result<DesiredDeployment> read_deployment(const json::Object& object) {
  DesiredDeployment deployment;
  LATHE_TRY(deployment.name, json::need_string(object, "name"));
  LATHE_TRY(const auto* const model, json::get_object(object, "model"));
  if (model == nullptr) return fail(Code::invalid, "\"model\" of deployment " + deployment.name + " is missing");
  LATHE_TRY(deployment.model, read_model(*model));
  LATHE_TRY(deployment.capture, read_capture(object));
  LATHE_TRY(deployment.instances, number(object, "instances", 1, 1, 1024));
  LATHE_TRY(deployment.request_timeout_ms, number(object, "request_timeout_ms", 5000, 1, 3'600'000));
  LATHE_TRY(deployment.max_queue, number(object, "max_queue", 100, 0, 1'000'000));
  LATHE_TRY(const auto asked, json::get_int(object, "asked"));
  deployment.asked = asked.value_or(0);
  return deployment;
}

Result<std::vector<std::pair<std::string, int>>> percents(const json::Object& parent, std::string_view key) {
  std::vector<std::pair<std::string, int>> out;
  LATHE_TRY(const auto* const object, json::get_object(parent, key));
  if (object == nullptr) return out;
  for (const auto& member : *object) {
    const std::string name(member.key().data(), member.key().size());
    LATHE_TRY(const int percent, number(*object, name, 0, 0, 100));
    out.emplace_back(name, percent);
  }
  return out;
}

Result<DesiredEndpoint> read_endpoint(const json::Object& object) {
  DesiredEndpoint endpoint;
  LATHE_TRY(endpoint.name, json::need_string(object, "name"));
  LATHE_TRY(endpoint.keys, texts(object, "keys"));
  LATHE_TRY(const auto auth, json::get_string(object, "auth"));
  endpoint.takes_tokens = auth == "ed25519";
  if (auth && !endpoint.takes_tokens) endpoint.keys.clear();  // another version's way, by which nobody is known here
  LATHE_TRY(endpoint.traffic, percents(object, "traffic"));
  LATHE_TRY(endpoint.mirror, percents(object, "mirror"));
  LATHE_TRY(endpoint.allowed_origins, texts(object, "allowed_origins"));
  LATHE_TRY(const auto* const limit, json::get_object(object, "rate_limit"));
  if (limit != nullptr) {
    LATHE_TRY(const auto rate, json::get_double(*limit, "requests_per_second"));
    endpoint.rate_limit.requests_per_second = std::clamp(rate.value_or(0), 0.0, 1e9);
    LATHE_TRY(endpoint.rate_limit.burst, number(*limit, "burst", 1, 1, 1'000'000));
  }
  LATHE_CHECK(each_object(object, "deployments", [&](const json::Object& one) -> Result<void> {
    LATHE_TRY(auto deployment, read_deployment(one));
    endpoint.deployments.push_back(std::move(deployment));
    return {};
  }));
  return endpoint;
}

Result<DesiredCluster> read_cluster(const json::Object& state) {
  DesiredCluster out;
  LATHE_TRY(const auto* const object, json::get_object(state, "cluster"));
  if (object == nullptr) return out;
  LATHE_TRY(out.name, json::need_string(*object, "name"));
  LATHE_TRY(out.key, json::need_string(*object, "key"));
  LATHE_CHECK(each_object(*object, "peers", [&](const json::Object& one) -> Result<void> {
    DesiredPeer peer;
    LATHE_TRY(peer.name, json::need_string(one, "name"));
    LATHE_TRY(peer.url, json::need_string(one, "url"));
    LATHE_TRY(auto certificate, json::get_string(one, "certificate_sha256"));
    peer.certificate = certificate.value_or("");
    const bool fits = peer.url.starts_with("https://") ? !peer.certificate.empty()
                                                       : peer.url.starts_with("http://") && peer.certificate.empty();
    if (fits) out.peers.push_back(std::move(peer));  // what another machine says of itself breaks nothing here
    return {};
  }));
  return out;
}

}  // namespace

Result<DesiredState> parse_desired(std::string_view text) {
  LATHE_TRY(const auto object, json::parse_object(text));
  DesiredState state;
  LATHE_TRY(const auto generation, json::get_int(object, "generation"));
  if (!generation) return fail(Code::invalid, "\"generation\" is missing");
  state.generation = *generation;
  LATHE_TRY(const auto put_out, json::get_bool(object, "put_out"));
  state.put_out = put_out.value_or(false);
  LATHE_CHECK(each_object(object, "endpoints", [&](const json::Object& one) -> Result<void> {
    LATHE_TRY(auto endpoint, read_endpoint(one));
    state.endpoints.push_back(std::move(endpoint));
    return {};
  }));
  LATHE_TRY(state.cluster, read_cluster(object));
  return state;
}

std::string print(const Reported& reported) {
  // A model's words may be any bytes.
  const auto text = [](const std::string& value) { return json::Value(boost::json::string_view(as_utf8(value))); };
  json::Array deployments;
  for (const auto& each : reported.deployments) {
    json::Object one{{"endpoint", text(each.endpoint)}, {"deployment", text(each.deployment)},
                     {"state", text(each.state)},       {"error", text(each.error)},
                     {"model", text(each.model)},       {"version", text(each.version)},
                     {"generation", each.generation},   {"runtime", text(each.runtime)}};
    if (each.instances) one["instances"] = *each.instances;
    if (each.tries_again) one["tries_again"] = true;
    deployments.push_back(std::move(one));
  }
  json::Object gpus;
  for (const auto& [holder, numbers] : reported.gpus) gpus[holder] = json::Array(numbers.begin(), numbers.end());
  return json::print(json::Object{{"generation", reported.generation},
                                  {"shown", reported.shown},
                                  {"pid", ::getpid()},
                                  {"rest", text(reported.rest)},
                                  {"grpc", text(reported.grpc)},
                                  {"certificate_sha256", text(reported.certificate)},
                                  {"error", text(reported.error)},
                                  {"memory_bytes", reported.memory_bytes},
                                  {"parked_interpreters", reported.parked_interpreters},
                                  {"gpus", std::move(gpus)},
                                  {"deployments", std::move(deployments)}});
}

}  // namespace lathe::infer
