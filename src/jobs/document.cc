#include "jobs/document.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/ids.h"
#include "base/text.h"
#include "json/fields.h"
#include "process/variables.h"

namespace lathe::jobs {
namespace {

using json::Object;
using json::Report;
using json::Value;

std::string_view view_of(boost::json::string_view text) { return {text.data(), text.size()}; }

Result<void> take_string(const Object& object, const std::string& key, std::string& into) {
  const auto* value = json::find(object, key);
  if (value == nullptr) return {};
  if (!value->is_string()) return fail(Code::invalid, fmt::format("{}: must be a string, not {}", key, json::kind_name(*value)));
  into = json::view(value->get_string());
  return {};
}

Result<const Object*> take_object(const Object& object, const std::string& path, std::string_view key) {
  const auto* value = json::find(object, key);
  if (value == nullptr) return static_cast<const Object*>(nullptr);
  if (!value->is_object()) return fail(Code::invalid, fmt::format("{}: must be a map, not {}", path, json::kind_name(*value)));
  return &value->get_object();
}

Result<std::map<std::string, std::string>> take_map(const Object& object, const std::string& key) {
  std::map<std::string, std::string> out;
  LATHE_TRY(const auto* map, take_object(object, key, key));
  if (map == nullptr) return out;
  for (const auto& member : *map) {
    const std::string name(view_of(member.key()));
    LATHE_TRY(out[name], process::word_of(member.value(), key + "." + name));
  }
  return out;
}

Result<void> check_fields(const Object& object, const std::string& prefix, const std::vector<std::string>& known) {
  for (const auto& member : object) {
    const auto key = view_of(member.key());
    if (std::find(known.begin(), known.end(), key) == known.end())
      return fail(Code::invalid, fmt::format("{}{}: {}", prefix, key, unknown_name("field", key, known)));
  }
  return {};
}

bool good_job_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

/// As the assets take them, so that a job does not run for hours before its output is refused.
bool good_asset_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.'; });
}

/// Names of inputs and outputs become parts of paths.
Result<void> check_part_name(std::string_view name, const std::string& path) {
  const bool good = !name.empty() && name.size() <= 255 && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
  if (good) return {};
  return fail(Code::invalid, fmt::format("{}: a name is letters, digits and _, beginning with none of the digits", path));
}

Result<void> check_for_program(const Asked& asked) {
  LATHE_CHECK(process::check_word(asked.command, "command"));
  for (const auto& [name, value] : asked.environment_variables) LATHE_CHECK(process::check_variable(name, value));
  return {};
}

Result<Input> read_input(const std::string& name, const Value& value, Report& report) {
  const std::string path = "inputs." + name;
  LATHE_CHECK(check_part_name(name, path));
  Input input;
  input.name = name;
  if (!value.is_object()) {
    LATHE_TRY(input.literal, process::word_of(value, path));
    return input;
  }
  static const std::vector<std::string> kFields = {"type", "path", "mode", "value", "description", "default", "optional"};
  static const std::vector<std::string> kFiles = {"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"};
  static const std::vector<std::string> kLiterals = {"string", "number", "integer", "boolean"};
  const auto& object = value.get_object();
  LATHE_CHECK(check_fields(object, path + ".", kFields));
  input.type = "uri_folder";
  if (const auto* type = json::find(object, "type")) {
    LATHE_TRY(input.type, process::word_of(*type, path + ".type"));
  }
  if (std::find(kLiterals.begin(), kLiterals.end(), input.type) != kLiterals.end()) {
    const auto* literal = json::find(object, "value");
    if (literal == nullptr) literal = json::find(object, "default");
    if (literal == nullptr) return fail(Code::invalid, fmt::format("{}: has neither value nor default", path));
    LATHE_TRY(input.literal, process::word_of(*literal, path));
    input.type.clear();
    return input;
  }
  if (std::find(kFiles.begin(), kFiles.end(), input.type) == kFiles.end())
    return fail(Code::invalid, fmt::format("{}.type: {}", path, unknown_name("input type", input.type, kFiles)));
  const auto* reference = json::find(object, "path");
  if (reference == nullptr) return fail(Code::invalid, fmt::format("{}.path: is missing", path));
  if (!reference->is_string() && !reference->is_object())
    return fail(Code::invalid, fmt::format("{}.path: must be a string, not {}", path, json::kind_name(*reference)));
  input.reference = *reference;
  if (const auto* mode = json::find(object, "mode")) {
    LATHE_TRY(const auto text, process::word_of(*mode, path + ".mode"));
    if (text == "rw_mount")
      report.push_back({path + ".mode", "substituted", "inputs are read-only: write to an output"});
    else if (text != "ro_mount" && text != "download" && text != "direct" && text != "eval_mount" && text != "eval_download")
      return fail(Code::invalid, fmt::format("{}.mode: must be ro_mount, download or direct, not \"{}\"", path, text));
  }
  return input;
}

Result<Output> read_output(const std::string& name, const Value& value, Report& report) {
  const std::string path = "outputs." + name;
  LATHE_CHECK(check_part_name(name, path));
  Output output;
  output.name = name;
  if (value.is_null()) return output;
  if (!value.is_object()) return fail(Code::invalid, fmt::format("{}: must be a map, not {}", path, json::kind_name(value)));
  const auto& object = value.get_object();
  static const std::vector<std::string> kFields = {"type", "path", "mode", "description", "name", "version"};
  static const std::vector<std::string> kTypes = {"uri_folder", "uri_file", "mltable", "mlflow_model", "custom_model"};
  LATHE_CHECK(check_fields(object, path + ".", kFields));
  if (const auto* type = json::find(object, "type")) {
    LATHE_TRY(output.type, process::word_of(*type, path + ".type"));
    if (std::find(kTypes.begin(), kTypes.end(), output.type) == kTypes.end())
      return fail(Code::invalid, fmt::format("{}.type: {}", path, unknown_name("output type", output.type, kTypes)));
  }
  if (json::find(object, "path") != nullptr)
    report.push_back({path + ".path", "substituted", "outputs are kept with the job: `lathe job download` fetches them"});
  if (const auto* asset = json::find(object, "name")) {
    LATHE_TRY(output.asset_name, process::word_of(*asset, path + ".name"));
    if (!good_asset_name(*output.asset_name))
      return fail(Code::invalid, fmt::format("{}.name: must be letters, digits, _, - and ., not \"{}\"", path, printable(*output.asset_name)));
  }
  if (const auto* version = json::find(object, "version")) {
    LATHE_TRY(output.asset_version, process::word_of(*version, path + ".version"));
    if (!output.asset_name) return fail(Code::invalid, path + ".version: needs a name beside it");
    if (!good_asset_name(*output.asset_version))
      return fail(Code::invalid, fmt::format("{}.version: must be letters, digits, _, - and ., not \"{}\"", path, printable(*output.asset_version)));
  }
  return output;
}

Result<void> read_limits(const Object& document, Asked& asked) {
  LATHE_TRY(const auto* limits, take_object(document, "limits", "limits"));
  if (limits == nullptr) return {};
  LATHE_CHECK(check_fields(*limits, "limits.", {"timeout"}));
  const auto* timeout = json::find(*limits, "timeout");
  if (timeout == nullptr) return {};
  if (!timeout->is_int64() || timeout->get_int64() < 1 || timeout->get_int64() > 31'536'000)
    return fail(Code::invalid, fmt::format("limits.timeout: must be a whole number of seconds from 1 on, not {}", json::print(*timeout)));
  asked.timeout_s = timeout->get_int64();
  return {};
}

Result<void> read_queue_settings(const Object& document, Asked& asked) {
  LATHE_TRY(const auto* settings, take_object(document, "queue_settings", "queue_settings"));
  if (settings == nullptr) return {};
  LATHE_CHECK(check_fields(*settings, "queue_settings.", {"job_tier", "priority"}));
  const auto take = [&](const char* key, const std::vector<std::string>& known, std::string& into) -> Result<void> {
    const auto* value = json::find(*settings, key);
    if (value == nullptr || value->is_null()) return {};
    LATHE_TRY(const auto text, process::word_of(*value, fmt::format("queue_settings.{}", key)));
    into = to_lower(text);
    if (std::find(known.begin(), known.end(), into) != known.end()) return {};
    return fail(Code::invalid, fmt::format("queue_settings.{}: must be {}, not \"{}\"", key, fmt::join(known, ", "), printable(text)));
  };
  LATHE_CHECK(take("job_tier", {"spot", "basic", "standard", "premium"}, asked.job_tier));
  return take("priority", {"low", "medium", "high"}, asked.priority);
}

/// What stands in `resources.properties` and looks as if it chose GPUs.
void note_gpus(const Object& resources, Report& report) {
  const auto properties = json::get_object(resources, "properties");
  if (!properties || *properties == nullptr || json::find(**properties, "gpu") == nullptr) return;
  report.push_back({"resources.properties.gpu", "ignored",
                    "a job gets all GPUs of its nodes: their number is the size's of its compute (`lathe compute list-sizes`)"});
}

Result<void> read_resources(const Object& document, Report& report) {
  LATHE_TRY(const auto* resources, take_object(document, "resources", "resources"));
  if (resources == nullptr) return {};
  LATHE_CHECK(check_fields(
      *resources, "resources.",
      {"instance_count", "instance_type", "shm_size", "docker_args", "properties", "locations", "max_instance_count"}));
  for (const auto* key : {"instance_type", "shm_size", "docker_args", "properties", "locations", "max_instance_count"})
    if (json::find(*resources, key) != nullptr)
      report.push_back({fmt::format("resources.{}", key), "ignored", "a job gets what its compute's nodes have"});
  note_gpus(*resources, report);
  return {};
}

void note_unused(const Object& document, Report& report) {
  static const std::map<std::string_view, std::string_view> kUnused = {
      {"identity", "a job acts as the user who submitted it"},
      {"services", "nothing but the command is started in a job"},
      {"properties", "nothing here reads them"},
  };
  for (const auto& [key, why] : kUnused)
    if (json::find(document, key) != nullptr) report.push_back({std::string(key), "ignored", std::string(why)});
}

}  // namespace

Result<Asked> read_document(const Object& document, Report& report) {
  static const std::vector<std::string> kFields = {
      "$schema", "type", "name", "display_name", "experiment_name", "description", "tags", "command", "code", "environment",
      "environment_variables", "compute", "inputs", "outputs", "limits", "resources", "identity", "services", "queue_settings",
      "properties", "distribution", "parent_job_name"};
  std::string type = "command";
  LATHE_CHECK(take_string(document, "type", type));
  if (type != "command") return fail(Code::invalid, fmt::format("type: a {} job is not supported yet; a job of the type command is", type));
  LATHE_CHECK(check_fields(document, "", kFields));

  Asked asked;
  LATHE_CHECK(take_string(document, "name", asked.name));
  if (asked.name.empty()) asked.name = random_name();
  if (!good_job_name(asked.name))
    return fail(Code::invalid, fmt::format("name: must be 1 to 255 letters, digits, _ and -, beginning with a letter or digit, not \"{}\"", asked.name));
  asked.display_name = asked.name;
  LATHE_CHECK(take_string(document, "display_name", asked.display_name));
  LATHE_CHECK(take_string(document, "experiment_name", asked.experiment_name));
  LATHE_CHECK(take_string(document, "description", asked.description));
  LATHE_CHECK(take_string(document, "parent_job_name", asked.parent));
  LATHE_TRY(asked.tags, take_map(document, "tags"));
  LATHE_CHECK(take_string(document, "command", asked.command));
  if (trim(asked.command).empty()) return fail(Code::invalid, "command: is missing: it says what the job runs, such as `python train.py`");
  if (const auto* code = json::find(document, "code")) {
    if (!code->is_string() && !code->is_object())
      return fail(Code::invalid, fmt::format("code: must be a folder, not {}", json::kind_name(*code)));
    asked.code = *code;
  }
  if (const auto* environment = json::find(document, "environment")) asked.environment = *environment;
  LATHE_TRY(asked.environment_variables, take_map(document, "environment_variables"));
  LATHE_CHECK(check_for_program(asked));
  LATHE_CHECK(take_string(document, "compute", asked.compute));
  if (asked.compute.starts_with("azureml:")) asked.compute.erase(0, 8);
  if (asked.compute == "serverless") {
    report.push_back({"compute", "substituted", "serverless compute is this machine: local"});
    asked.compute = "local";
  }
  LATHE_TRY(asked.distribution, read_distribution(document));
  if (asked.distribution.nodes > 1 && asked.compute == "local")
    return fail(Code::invalid, fmt::format("resources.instance_count: local is one node: make a cluster (type: "
                                           "amlcompute) with max_instances: {}, and name it as "
                                           "the job's compute",
                                           asked.distribution.nodes));
  LATHE_TRY(const auto* inputs, take_object(document, "inputs", "inputs"));
  if (inputs != nullptr)
    for (const auto& member : *inputs) {
      if (member.value().is_null()) continue;
      LATHE_TRY(auto input, read_input(std::string(view_of(member.key())), member.value(), report));
      asked.inputs.push_back(std::move(input));
    }
  LATHE_TRY(const auto* outputs, take_object(document, "outputs", "outputs"));
  if (outputs != nullptr)
    for (const auto& member : *outputs) {
      LATHE_TRY(auto output, read_output(std::string(view_of(member.key())), member.value(), report));
      asked.outputs.push_back(std::move(output));
    }
  LATHE_CHECK(read_limits(document, asked));
  LATHE_CHECK(read_queue_settings(document, asked));
  LATHE_CHECK(read_resources(document, report));
  note_unused(document, report);
  return asked;
}

}  // namespace lathe::jobs
