#include "serving/python.h"

#include <algorithm>

#include "base/text.h"
#include "process/variables.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

/// `has_gpus`: this machine, which decides who sees which.
Result<void> read_variables(const json::Object& document, PythonSpec& python, bool has_gpus, json::Report& report) {
  LATHE_TRY(const auto* variables, json::get_object(document, "environment_variables"));
  if (variables == nullptr) return {};
  python.variables.clear();
  for (const auto& member : *variables) {
    const std::string name(member.key().data(), member.key().size());
    LATHE_TRY(auto text, process::word_of(member.value(), "environment_variables." + printable(name)));
    LATHE_CHECK(process::check_variable(name, text));
    if (has_gpus && (name == "CUDA_VISIBLE_DEVICES" || name == "CUDA_DEVICE_ORDER"))
      report.push_back({"environment_variables." + name, "ignored",
                        "workers see the GPUs that the deployment reserves by its instance_type"});
    python.variables[name] = std::move(text);
  }
  return {};
}

/// What one instance of this size has here; nullopt: none, or none that is known here.
std::optional<compute::Resources> room_of(const std::vector<compute::Size>& sizes, const std::string& type) {
  for (const auto& size : sizes)
    if (to_lower(size.name) == to_lower(type)) return size.given;
  return std::nullopt;
}

}  // namespace

Result<void> Serving::read_script(const json::Object& document, PythonSpec& python, const Deployer& deployer) const {
  LATHE_TRY(const auto* configuration, json::get_object(document, "code_configuration"));
  if (configuration == nullptr) return {};
  for (const auto& member : *configuration)
    if (member.key() != "code" && member.key() != "scoring_script")
      return fail(Code::invalid,
                  "code_configuration." + unknown_name("field", std::string(member.key()), {"code", "scoring_script"}));
  const auto* code = json::find(*configuration, "code");
  if (code == nullptr)
    return fail(Code::invalid, "code_configuration.code: is missing: give the folder with the scoring script");
  auto script = json::need_string(*configuration, "scoring_script");
  if (!script) return fail_in("code_configuration", script.error());
  const auto digest = site_.code(*code, deployer);
  if (!digest) return fail_in("code_configuration.code", digest.error());
  const auto& blobs = models_.assets().blobs();
  LATHE_TRY(const auto tree, blobs.tree(*digest));
  python.script = std::filesystem::path(*script).lexically_normal().string();
  std::vector<std::string> scripts;
  for (const auto& file : tree.files)
    if (file.path.ends_with(".py")) scripts.push_back(file.path);
  if (std::find(scripts.begin(), scripts.end(), python.script) == scripts.end())
    return fail(Code::invalid, "code_configuration.scoring_script: " + unknown_name("script", *script, scripts) +
                                   "; the path is below the folder of the code");
  LATHE_TRY(const auto folder, blobs.view(*digest));
  python.code = folder.string();
  return {};
}

Result<void> Serving::read_python(const json::Object& document, Deployment& deployment, const Deployer& deployer,
                                  std::chrono::milliseconds limit, json::Report& report) const {
  auto& python = *deployment.spec.python;
  if (!site_.account) return fail(Code::unavailable, "the server is starting: try again in a moment");
  LATHE_CHECK(read_script(document, python, deployer));
  LATHE_CHECK(read_variables(document, python, !compute_.inventory().list().empty(), report));
  const auto* wanted = json::find(document, "environment");
  if (python.interpreter.empty() || wanted != nullptr) {
    auto environment = site_.environment(wanted != nullptr ? *wanted : json::Value(nullptr), deployer, report, limit);
    if (!environment) return fail_in("environment", environment.error());
    python.environment = environment->folder.string();
    python.environment_digest = environment->digest;
    python.environment_words = environment->words;
    python.interpreter = environment->interpreter;
    python.image = environment->image;
  }
  LATHE_TRY(python.account, site_.account(deployer.who.user));
  python.library = site_.library.string();
  python.isolation = site_.isolation;
  python.network = site_.network;
  const auto room = room_of(compute_.list_sizes(), deployment.spec.instance_type);
  python.memory_bytes = room ? room->memory_bytes / python.workers_per_instance : 0;
  python.cores = room ? std::max<std::int64_t>(1, room->cores / python.workers_per_instance) : 1;
  return {};
}

Result<std::optional<std::string>> Serving::user_of_environment(const std::string& digest) const {
  LATHE_TRY(const auto all, db_.read([](db::Connection& c) { return every_deployment(c); }));
  for (const auto& each : all)
    for (const auto* spec : {&each.spec, each.previous ? &*each.previous : nullptr})
      if (spec != nullptr && spec->python && spec->python->environment_digest == digest)
        return std::optional("deployment " + each.endpoint + "/" + each.name);
  return std::nullopt;
}

}  // namespace lathe::serving
