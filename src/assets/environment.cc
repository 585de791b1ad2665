#include <system_error>

#include "assets/assets.h"
#include "base/digest.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

constexpr auto kPython = "/usr/bin/python3";

json::Object default_definition() { return {{"python", kPython}}; }

/// What decides what runs: not the name, not the tags.
constexpr const char* kDeciding[] = {"image", "build", "conda_file", "inference_config", "os_type"};

/// What a client uploaded comes as {"tree": DIGEST}, and is kept as a text.
Result<void> read_build(json::Object& build) {
  auto* path = build.if_contains("path");
  if (path == nullptr || !(path->is_string() || path->is_object()))
    return fail(Code::invalid, "build.path: is missing: the folder with the Dockerfile");
  if (!path->is_object()) return {};
  const auto tree = json::need_string(path->get_object(), "tree");
  if (!tree) return fail(Code::invalid, "build.path: must be a folder, or {\"tree\": DIGEST}");
  *path = "tree:" + *tree;
  return {};
}

/// Checks an environment's fields and answers those that decide, as they were given.
Result<json::Object> read_definition(const json::Object& document, json::Report& report) {
  LATHE_CHECK(check_fields(document,
                           {"name", "version", "image", "build", "conda_file", "inference_config", "os_type", "description",
                            "tags"},
                           {{"properties", "Lathe keeps tags, not properties"},
                            {"variables", "give environment_variables in the job"},
                            {"datastore", "not needed here"}},
                           report));
  json::Object out;
  for (const char* key : kDeciding)
    if (const auto* value = json::find(document, key)) out[key] = *value;
  LATHE_CHECK(json::get_string(document, "image"));
  LATHE_TRY(const auto os, json::get_string(document, "os_type"));
  if (os && to_lower(*os) != "linux") return fail(Code::invalid, "os_type: must be linux, not \"" + printable(*os) + "\"");
  LATHE_TRY(const auto* build, json::get_object(document, "build"));
  if (build != nullptr && out.contains("image")) return fail(Code::invalid, "build: give image or build, not both");
  if (build != nullptr) LATHE_CHECK(read_build(out["build"].get_object()));
  if (const auto* conda = json::find(document, "conda_file"); conda != nullptr && !conda->is_object() && !conda->is_string())
    return fail(Code::invalid, "conda_file: must be a file or its content, not " + std::string(json::kind_name(*conda)));
  if (!out.contains("image") && !out.contains("build") && !out.contains("conda_file"))
    return fail(Code::invalid, "image: is missing: an environment has an image, a build folder or a conda_file");
  return out;
}

std::string type_of(const json::Object& definition) {
  return definition.contains("build") ? "build" : definition.contains("conda_file") ? "conda" : "image";
}

EnvironmentUse defined(json::Value definition) {
  EnvironmentUse use;
  use.digest = sha256_hex(canonical_json(definition));
  use.definition = std::move(definition);
  return use;
}

EnvironmentUse plain_default() {
  auto use = defined(default_definition());
  use.name = kDefaultEnvironment;
  use.version = "1";
  return use;
}

}  // namespace

std::string system_python() {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(kPython, error);
  return error ? "python3" : target.filename().string();
}

std::string default_environment() { return "the default environment (/usr/bin/" + system_python() + ")"; }

Result<std::string> Assets::keep_folder(const std::string& folder, const http::Principal& who, bool local) {
  if (!folder.starts_with('/'))
    return fail(Code::invalid, "\"" + printable(folder) + "\" is relative, and the server does not know to which folder: the command "
                               "line uploads it, other clients give tree:DIGEST");
  LATHE_TRY(const auto path, allowed_path(folder, who, local));
  if (!std::filesystem::is_directory(path)) return fail(Code::invalid, printable(folder) + " is not a folder");
  LATHE_TRY(const auto rules, IgnoreRules::of_folder(path));
  LATHE_TRY(const auto scan, scan_folder(path, rules, digests(), who.is_administrator() ? Reach::everything : Reach::world_readable));
  return blobs().take_folder(path, scan.tree);
}

/// Puts what the build folder holds now in place of its path.
Result<void> Assets::keep_build_folder(json::Object& definition, const http::Principal& who, bool local) {
  auto* build = definition.if_contains("build");
  if (!keeps_build_folders || build == nullptr || definition.contains("conda_file")) return {};
  auto& path = build->get_object()["path"];
  const std::string text(json::view(path.get_string()));
  constexpr std::string_view kTree = "tree:";
  const auto kept = text.starts_with(kTree) ? blobs().tree(text.substr(kTree.size())).map([&](const auto&) { return text.substr(kTree.size()); })
                                            : keep_folder(text, who, local);
  if (!kept) return fail(kept.error().code, "build.path: " + kept.error().message);
  path = std::string(kTree) + *kept;
  return {};
}

Result<Asset> Assets::create_environment(const json::Object& document, const http::Principal& who, bool local, bool strict) {
  json::Report report;
  Asset asset;
  LATHE_TRY(asset.name, json::need_string(document, "name"));
  LATHE_CHECK(check_name(asset.name));
  if (asset.name == kDefaultEnvironment)
    return fail(Code::conflict, "name: \"" + asset.name + "\" is the server's own environment: take another name");
  LATHE_TRY(auto definition, read_definition(document, report));
  LATHE_CHECK(keep_build_folder(definition, who, local));
  if (const auto* version = json::find(document, "version")) {
    asset.version = version->is_string() ? std::string(json::view(version->get_string())) : json::print(*version);
    LATHE_CHECK(check_version(asset.version));
  }
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  asset.description = description.value_or("");
  LATHE_TRY(asset.tags, read_tags(document));
  if (explain_environment) {
    LATHE_TRY(auto said, explain_environment(definition));
    report.insert(report.end(), said.begin(), said.end());
  }
  LATHE_CHECK(json::refuse_if_strict(report, strict));

  asset.type = type_of(definition);
  asset.digest = sha256_hex(canonical_json(definition));
  asset.definition = json::parse(canonical_json(definition)).value();
  asset.creation_context.created_by = who.user;
  LATHE_TRY(auto kept, db_.write([&](db::Connection& c) -> Result<Asset> {
    // Without a version, the same definition again is the version that holds it.
    if (asset.version.empty()) {
      LATHE_TRY(const auto existing, asset_versions(c, Kind::environment, asset.name, false));
      if (!existing.empty() && existing.front().digest == asset.digest) return existing.front();
    }
    return insert_asset(c, Kind::environment, asset);
  }));
  if (!report.empty()) kept.report = std::move(report);
  return kept;
}

Result<EnvironmentUse> Assets::resolve_environment(const json::Value& value, const http::Principal& who, bool local) {
  if (value.is_null()) return plain_default();
  if (const auto* object = value.if_object()) {
    json::Report report;
    auto definition = read_definition(*object, report);
    if (!definition) return fail(definition.error().code, "environment." + definition.error().message);
    if (auto kept = keep_build_folder(*definition, who, local); !kept)
      return fail(kept.error().code, "environment." + kept.error().message);
    for (auto& entry : report) entry.field = "environment." + entry.field;
    auto use = defined(std::move(*definition));
    use.report = std::move(report);
    return use;
  }
  if (!value.is_string())
    return fail(Code::invalid, "environment: must be a reference or a definition, not " + std::string(json::kind_name(value)));

  const std::string text(json::view(value.get_string()));
  // A bare word is a name too: Azure's older files leave "azureml:" out.
  const bool bare = text.find(':') == std::string::npos && text.find('/') == std::string::npos;
  auto reference = parse_reference(bare ? "azureml:" + text : text);
  if (!reference) return fail_in("environment", reference.error());
  const auto substituted = [&](const std::string& why) {
    auto use = defined(json::Object{{"reference", text}});
    use.report = {{"environment", "substituted", "by " + default_environment() + ": " + why}};
    return use;
  };
  if (const auto* in = std::get_if<InRegistry>(&*reference))
    return substituted("the registry \"" + in->registry + "\" is Azure's, and this server does not reach it");

  const auto* named = std::get_if<NamedVersion>(&*reference);
  const auto* label = std::get_if<NamedLabel>(&*reference);
  if (named == nullptr && label == nullptr)
    return fail(Code::invalid, "environment: must be azureml:NAME:VERSION, azureml:NAME@latest or a definition");
  const auto& name = named != nullptr ? named->name : label->name;
  if (name == kDefaultEnvironment) return plain_default();
  auto asset = db_.read([&](db::Connection& c) {
    return named != nullptr ? find_asset(c, Kind::environment, name, named->version)
                            : find_asset_by_label(c, Kind::environment, name, label->label);
  });
  if (!asset && asset.error().code == Code::not_found) return substituted(asset.error().message);
  if (!asset) return fail_in("environment", asset.error());

  auto definition = asset->definition.value_or(json::Object{});
  // One that was made before images were built here names its folder still.
  if (auto kept = keep_build_folder(definition.as_object(), who, local); !kept)
    return fail(kept.error().code, "environment." + kept.error().message);
  auto use = defined(std::move(definition));
  use.name = asset->name;
  use.version = asset->version;
  return use;
}

}  // namespace lathe::assets
