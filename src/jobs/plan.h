#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "environments/recipe.h"
#include "http/principal.h"
#include "jobs/document.h"
#include "json/fields.h"

namespace lathe::jobs {

/// An input as the job will see it.
struct PlannedInput {
  std::string name;
  std::optional<std::string> literal;
  std::optional<std::string> path;    ///< on the server's machine
  std::optional<std::string> url;     ///< fetched by the job itself
  std::optional<std::string> digest;  ///< SHA-256 of the file, or of the folder's list; absent: unknown
  std::optional<std::string> source;  ///< what was asked for: "azureml:cancer:3"
  bool folder = false;
};

struct PlannedOutput {
  std::string name;
  std::string type;
  std::optional<std::string> asset_name;  ///< registered as data under this name when the job has succeeded
  std::optional<std::string> asset_version;
};

/// All that launching takes, kept with the job: so that a restarted server launches the same.
struct Plan {
  std::string command;  ///< with its expressions
  std::optional<std::string> code;  ///< digest of the tree
  std::string environment;          ///< which one is used, in words
  std::optional<std::string> environment_digest;
  std::optional<environments::Recipe> environment_recipe;  ///< absent: the default environment
  bool strict = false;
  std::map<std::string, std::string> variables;
  std::vector<PlannedInput> inputs;
  std::vector<PlannedOutput> outputs;
  std::int64_t timeout_s = 0;
  std::optional<std::string> job_tier;       ///< absent: standard
  std::optional<std::string> priority;       ///< absent: medium
  std::optional<Distribution> distribution;  ///< absent: one process on one node

  Distribution spread() const { return distribution.value_or(Distribution{}); }
};

/// Files on the server's machine that a reference means.
struct Resolved {
  std::filesystem::path path;
  std::optional<std::string> digest;
  bool folder = false;
  std::string note;  ///< for the report: "data \"churn:1\" changed on disk since it was registered"
};

/// Who submits, and whether from this machine: then a path may mean the same to both.
struct Caller {
  http::Principal who;
  bool local = false;
};

/// What jobs need of the assets, with the rights of the caller.
struct Resolvers {
  /// A path, `azureml:NAME:VERSION`, `azureml:NAME@LABEL`, `azureml://datastores/...`, {"tree"} or {"blob"}. `type` is
  /// the input's: uri_file, mlflow_model, ...
  std::function<Result<Resolved>(const json::Value& reference, const std::string& type, const Caller& caller)> input;
  /// A folder or {"tree"}: the digest of its tree, which is in the blob store then.
  std::function<Result<std::string>(const json::Value& code, const Caller& caller)> code;
  struct Environment {
    std::string words;
    std::optional<std::string> digest;
    std::optional<environments::Recipe> recipe;
  };
  /// `elsewhere`: it is made on a cluster's nodes, not on this machine.
  std::function<Result<Environment>(const json::Value& environment, const Caller& caller, bool elsewhere, json::Report& report)> environment;
  /// Which modules the plan's scripts import and its environment lacks, in words; empty: none, or it is not known yet.
  std::function<std::string(const Plan& plan)> missing_modules;
  /// Keeps a folder's content as a version of a data asset and answers its reference, "azureml:NAME:VERSION".
  std::function<Result<std::string>(const std::filesystem::path& folder, const PlannedOutput& output, const std::string& user)> keep;
};

/// Resolves what a document asks for, and checks that its command can be filled in.
/// Errors: `invalid` and `forbidden`, beginning with the field.
/// `elsewhere`: the job runs on a cluster's nodes.
Result<Plan> make_plan(const Asked& asked, const Resolvers& resolvers, const Caller& caller, bool elsewhere, json::Report& report);

/// The report's entry for modules that are missing.
json::FieldReport missing_report(const std::string& modules);

/// Where a job's parts lie as its process sees them.
struct Places {
  std::filesystem::path work;
  std::filesystem::path code() const { return work / "code"; }
  std::filesystem::path input(const PlannedInput& input) const;
  std::filesystem::path output(const std::string& name) const { return work / "outputs" / name; }
};

/// The command with everything filled in, and the environment variables likewise. Errors: `invalid`.
Result<std::string> fill_in(const std::string& text, const Plan& plan, const Places& places);

}  // namespace lathe::jobs

namespace lathe::json {

template <>
struct Fields<jobs::PlannedInput> {
  static constexpr std::string_view name = "JobInput";
  using T = jobs::PlannedInput;
  static constexpr auto list = std::tuple{field("name", &T::name), field("literal", &T::literal), field("path", &T::path), field("url", &T::url),
                                          field("digest", &T::digest), field("source", &T::source), field("folder", &T::folder)};
};
template <>
struct Fields<jobs::PlannedOutput> {
  static constexpr std::string_view name = "JobOutput";
  using T = jobs::PlannedOutput;
  static constexpr auto list = std::tuple{field("name", &T::name), field("type", &T::type),
                                          field("asset_name", &T::asset_name, "the data asset that it becomes"),
                                          field("asset_version", &T::asset_version)};
};
template <>
struct Fields<jobs::Plan> {
  static constexpr std::string_view name = "JobPlan";
  using T = jobs::Plan;
  static constexpr auto list = std::tuple{field("command", &T::command),
                                          field("code", &T::code),
                                          field("environment", &T::environment),
                                          field("environment_digest", &T::environment_digest),
                                          field("environment_recipe", &T::environment_recipe, "absent: the default environment"),
                                          field("strict", &T::strict, "nothing is substituted, ignored or missing"),
                                          field("variables", &T::variables),
                                          field("inputs", &T::inputs),
                                          field("outputs", &T::outputs),
                                          field("timeout_s", &T::timeout_s),
                                          field("job_tier", &T::job_tier, "spot, basic, standard (if absent) or premium"),
                                          field("priority", &T::priority, "low, medium (if absent) or high"),
                                          field("distribution", &T::distribution, "of a job with several processes or nodes")};
};

}  // namespace lathe::json
