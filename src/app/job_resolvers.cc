#include "app/job_resolvers.h"

#include <fmt/format.h>

#include <mutex>

#include "base/file.h"
#include "base/text.h"
#include "environments/imports.h"
#include "jobs/job_store.h"
#include "json/fields.h"
#include "tracking/tracking.h"

namespace lathe::app {
namespace {

/// A reference as one text; what clients uploaded comes as {"tree": digest}, with a "path" within it for one file.
Result<std::string> reference_text(const json::Value& reference) {
  if (reference.is_string()) return std::string(json::view(reference.get_string()));
  if (!reference.is_object()) return fail(Code::invalid, fmt::format("must be a string, not {}", json::kind_name(reference)));
  LATHE_TRY(const auto tree, json::get_string(reference.get_object(), "tree"));
  if (!tree) return fail(Code::invalid, "must be a path, azureml:NAME:VERSION or {\"tree\": DIGEST}");
  LATHE_TRY(const auto path, json::get_string(reference.get_object(), "path"));
  return path ? "tree:" + *tree + "/" + *path : "tree:" + *tree;
}

/// What a job left as an output becomes a version of a data asset, by its content.
Result<std::string> keep_output(assets::Assets& assets, const std::filesystem::path& folder, const jobs::PlannedOutput& output,
                                const std::string& user) {
  LATHE_TRY(const auto scan, assets::scan_data(folder, assets.digests(), assets::Reach::no_links));
  if (scan.tree.files.empty()) return fail(Code::invalid, "nothing was written to it");
  if (output.type == "uri_file" && scan.tree.files.size() != 1)
    return fail(Code::invalid, fmt::format("it is a uri_file, and {} files were written to it", scan.tree.files.size()));
  LATHE_TRY(const auto digest, assets.blobs().take_folder(folder, scan.tree));
  assets::Asset asset;
  asset.name = *output.asset_name;
  asset.version = output.asset_version.value_or("");
  asset.type = output.type == "uri_file" || output.type == "mltable" ? output.type : "uri_folder";
  asset.path = "tree:" + digest;
  asset.digest = digest;
  if (output.type == "uri_file") {
    asset.path += "/" + scan.tree.files[0].path;
    asset.digest = scan.tree.files[0].sha256;
  }
  asset.files = static_cast<std::int64_t>(scan.tree.files.size());
  asset.size_bytes = scan.tree.size_bytes();
  asset.creation_context = {user, to_iso8601(now())};
  LATHE_TRY(const auto kept, assets.db().write([&](db::Connection& c) { return assets::insert_asset(c, assets::Kind::data, asset); }));
  return fmt::format("azureml:{}:{}", kept.name, kept.version);
}

/// What the scripts of a plan import, by the digest of the code and the command. Thread-safe.
class NeedsCache {
 public:
  std::vector<environments::Needed> of(assets::Assets& assets, const std::string& code, const std::string& command) {
    const auto key = code + command;
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = known_.find(key); found != known_.end()) return found->second;
    }
    auto needs = read(assets, code, command);
    const std::lock_guard lock(mutex_);
    if (known_.size() >= kMost) known_.clear();
    return known_[key] = std::move(needs);
  }

 private:
  static constexpr std::size_t kMost = 1000;
  static constexpr std::size_t kLongestScript = std::size_t{4} << 20;

  static std::vector<environments::Needed> read(assets::Assets& assets, const std::string& code, const std::string& command) {
    const auto tree = assets.blobs().tree(code);
    if (!tree) return {};
    environments::CodeFolder folder;
    std::map<std::string, std::string> digests;
    for (const auto& file : tree->files) {
      folder.files.insert(file.path);
      digests[file.path] = file.sha256;
    }
    folder.read = [&](const std::string& path) -> std::optional<std::string> {
      auto text = read_file(assets.blobs().path_of(digests[path]), kLongestScript);
      if (!text) return std::nullopt;
      return std::move(*text);
    };
    return environments::needs_of(command, folder);
  }

  std::mutex mutex_;
  std::map<std::string, std::vector<environments::Needed>> known_;
};

std::string missing_modules(assets::Assets& assets, environments::Environments& environments, NeedsCache& cache, const jobs::Plan& plan) {
  // With a path of its own, Python finds what nobody can foresee.
  if (!plan.code || plan.variables.contains("PYTHONPATH")) return {};
  const auto needs = cache.of(assets, *plan.code, plan.command);
  if (needs.empty()) return {};
  const auto modules = environments.modules(plan.environment_recipe ? std::optional{plan.environment_recipe->digest()} : std::nullopt);
  return modules ? environments::missing_of(needs, *modules) : "";
}

}  // namespace

jobs::Resolvers job_resolvers(assets::Assets& assets, assets::Models& models, environments::Environments& environments) {
  jobs::Resolvers out;
  out.input = [&assets, &models](const json::Value& reference, const std::string& type, const jobs::Caller& caller) -> Result<jobs::Resolved> {
    LATHE_TRY(const auto text, reference_text(reference));
    const bool model = type.ends_with("_model") && text.starts_with("azureml:") && !text.starts_with("azureml://");
    LATHE_TRY(const auto found, model ? models.resolve(text) : assets.resolve(text, type, caller.who, caller.local));
    if (found.local.empty()) return fail(Code::invalid, "a URL that an asset names is not fetched yet: name the URL itself as the input's path");
    return jobs::Resolved{found.local, found.digest, std::filesystem::is_directory(found.local), found.note};
  };
  out.code = [&assets](const json::Value& code, const jobs::Caller& caller) -> Result<std::string> {
    LATHE_TRY(auto text, reference_text(code));
    if (text.starts_with("tree:")) {
      text.erase(0, 5);
      LATHE_CHECK(assets.blobs().tree(text));
      return text;
    }
    return assets.keep_folder(text, caller.who, caller.local);
  };
  out.environment = [&assets, &environments](const json::Value& environment, const jobs::Caller& caller, bool elsewhere,
                                             json::Report& report) -> Result<jobs::Resolvers::Environment> {
    LATHE_TRY(auto use, assets.resolve_environment(environment, caller.who, caller.local));
    report.insert(report.end(), use.report.begin(), use.report.end());
    LATHE_TRY(auto choice, environments::choose(use.definition.as_object(), elsewhere ? environments::of_nodes() : environments.abilities()));
    report.insert(report.end(), choice.report.begin(), choice.report.end());
    return jobs::Resolvers::Environment{choice.words, use.digest, std::move(choice.recipe)};
  };
  const auto needs = std::make_shared<NeedsCache>();
  out.missing_modules = [&assets, &environments, needs](const jobs::Plan& plan) {
    return missing_modules(assets, environments, *needs, plan);
  };
  out.keep = [&assets](const std::filesystem::path& folder, const jobs::PlannedOutput& output, const std::string& user) {
    return keep_output(assets, folder, output, user);
  };
  return out;
}

Result<std::optional<assets::JobOrigin>> job_origin(db::Connection& c, const std::string& run) {
  const auto job = jobs::find_job(c, run);
  if (!job) return std::nullopt;
  LATHE_TRY(const auto value, json::parse(job->plan_json));
  LATHE_TRY(const auto plan, json::from_json<jobs::Plan>(value));
  LATHE_TRY(const auto logged, tracking::load_run(c, run));
  assets::JobOrigin out;
  out.command = plan.command;
  out.code_digest = plan.code;
  out.environment_digest = plan.environment_digest;
  out.environment_runs_as = plan.environment;
  for (const auto& input : plan.inputs) {
    if (input.literal) {
      out.parameters[input.name] = *input.literal;
      continue;
    }
    // What the job itself fetched from a URL, it noted in a tag.
    auto digest = input.digest;
    for (const auto& tag : logged.tags)
      if (tag.key == "lathe.input." + input.name + ".sha256") digest = tag.value;
    out.data.push_back({input.name, input.source.value_or("uploaded"), digest});
  }
  return out;
}

}  // namespace lathe::app
