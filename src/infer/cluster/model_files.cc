#include "infer/cluster/model_files.h"

#include <set>

#include "base/digest.h"
#include "base/file.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigest = 64;
constexpr auto kPart = ".part";
constexpr auto kPython = "it is Python, which nodes do not compute: others answer for it";

std::string text_of(const json::Object& object, std::string_view key) {
  const auto found = json::get_string(object, key);
  return found && *found ? **found : std::string{};
}

Result<ModelFile> read_file_of(const json::Value& item) {
  if (!item.is_object()) return fail(Code::invalid, "\"files\" must hold objects");
  ModelFile out{text_of(item.get_object(), "path"), text_of(item.get_object(), "sha256")};
  const auto path = fs::path(out.path).lexically_normal();
  if (out.path.empty() || path.is_absolute() || *path.begin() == "..")
    return fail(Code::invalid, "the model's file " + out.path + " lies outside its folder");
  if (out.sha256.size() != kDigest || out.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    return fail(Code::invalid, "the model's file " + out.path + " has no digest");
  return out;
}

Result<MissingModel> read_model(const std::string& endpoint, const std::string& deployment, const json::Object& model,
                                const fs::path& models) {
  MissingModel out{endpoint, deployment, text_of(model, "name"), text_of(model, "version"), {}, {}};
  LATHE_TRY(const auto* const files, json::get_array(model, "files"));
  std::string key;
  for (const auto& item : files != nullptr ? *files : json::Array{}) {
    LATHE_TRY(auto file, read_file_of(item));
    key += file.path + '\n' + file.sha256 + '\n';
    out.files.push_back(std::move(file));
  }
  out.folder = models / sha256_hex(key);
  return out;
}

const json::Object* find_named(const json::Object* parent, std::string_view list, std::string_view name) {
  if (parent == nullptr) return nullptr;
  const auto found = json::get_array(*parent, list);
  if (!found || *found == nullptr) return nullptr;
  for (const auto& each : **found)
    if (each.is_object() && text_of(each.get_object(), "name") == name) return &each.get_object();
  return nullptr;
}

bool has_digest(const fs::path& file, const std::string& sha256) {
  const auto digest = sha256_file(file);
  return digest && *digest == sha256;
}

}  // namespace

Result<LocalState> localize(const json::Object& server, const json::Object& before, const fs::path& models,
                            const std::function<bool(const MissingModel&)>& has) {
  LocalState out;
  out.document = server;
  LATHE_TRY(const auto* const endpoints, json::get_array(server, "endpoints"));
  json::Array kept_endpoints;
  for (const auto& item : endpoints != nullptr ? *endpoints : json::Array{}) {
    if (!item.is_object()) return fail(Code::invalid, "\"endpoints\" must hold objects");
    auto endpoint = item.get_object();
    const auto name = text_of(endpoint, "name");
    const auto* const old_endpoint = find_named(&before, "endpoints", name);
    LATHE_TRY(const auto* const deployments, json::get_array(item.get_object(), "deployments"));
    json::Array kept;
    for (const auto& each : deployments != nullptr ? *deployments : json::Array{}) {
      if (!each.is_object()) return fail(Code::invalid, "\"deployments\" must hold objects");
      auto deployment = each.get_object();
      const auto deployment_name = text_of(deployment, "name");
      LATHE_TRY(const auto* const model, json::get_object(deployment, "model"));
      if (model == nullptr) return fail(Code::invalid, "\"model\" of deployment " + deployment_name + " is missing");
      LATHE_TRY(auto wanted, read_model(name, deployment_name, *model, models));
      if (json::find(*model, "python") != nullptr) {
        out.not_taken.push_back({name, deployment_name, wanted.model, wanted.version, kPython});
        continue;
      }
      if (has(wanted)) {
        deployment["model"].as_object()["folder"] = wanted.folder.string();
        kept.push_back(std::move(deployment));
        continue;
      }
      if (const auto* const old = find_named(old_endpoint, "deployments", deployment_name)) kept.push_back(*old);
      out.missing.push_back(std::move(wanted));
    }
    endpoint["deployments"] = std::move(kept);
    kept_endpoints.push_back(std::move(endpoint));
  }
  out.document["endpoints"] = std::move(kept_endpoints);
  return out;
}

bool is_whole(const MissingModel& model) {
  for (const auto& file : model.files)
    if (!has_digest(model.folder / file.path, file.sha256)) return false;
  return true;
}

Result<void> fetch(const MissingModel& model,
                   const std::function<Result<void>(const std::string&, const fs::path&)>& get) {
  const auto part = fs::path(model.folder.string() + kPart);
  std::error_code error;
  fs::remove_all(model.folder, error);  // it was found broken
  LATHE_CHECK(make_folder(part));
  for (const auto& file : model.files) {
    const auto path = part / file.path;
    if (has_digest(path, file.sha256)) continue;
    LATHE_CHECK(make_folder(path.parent_path()));
    LATHE_CHECK(get(file.sha256, path));
    if (has_digest(path, file.sha256)) continue;
    fs::remove(path, error);
    return fail(Code::invalid,
                "the model's file " + file.path + " came damaged (its SHA-256 differs): it is fetched again");
  }
  fs::rename(part, model.folder, error);
  if (error) return fail(Code::internal, "cannot make " + model.folder.string() + ": " + error.message());
  return {};
}

void forget_models(const fs::path& models, const json::Object& document) {
  std::set<std::string> named;
  const auto endpoints = json::get_array(document, "endpoints");
  for (const auto& endpoint : endpoints&&* endpoints != nullptr ? **endpoints : json::Array{}) {
    const auto deployments = json::get_array(endpoint.as_object(), "deployments");
    for (const auto& each : deployments&&* deployments != nullptr ? **deployments : json::Array{})
      if (const auto model = json::get_object(each.as_object(), "model"); model && *model != nullptr)
        named.insert(text_of(**model, "folder"));
  }
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(models, ignored))
    if (!named.contains(entry.path().string())) {
      std::error_code failed;
      fs::remove_all(entry.path(), failed);
    }
}

}  // namespace lathe::infer
