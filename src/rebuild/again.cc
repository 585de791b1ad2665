// The job of a model as a document that can be submitted again: everything in it is named by what it was then.
#include <fmt/format.h>

#include "base/text.h"
#include "rebuild/rebuilds.h"
#include "tracking/rebuild_tags.h"
#include "tracking/tracking.h"

namespace lathe::rebuild {
namespace {

std::string short_of(const std::string& digest) {
  return digest.substr(0, 12);
}

json::Object& object_at(json::Object& parent, std::string_view key) {
  auto& value = parent[key];
  if (!value.is_object()) value = json::Object{};
  return value.get_object();
}

/// The versions of a name, newest first, each as a reference of its own.
Result<std::vector<std::string>> references_of(db::Connection& c, const std::string& name, bool model) {
  std::vector<std::string> out;
  if (model) {
    LATHE_TRY(const auto versions, registry::versions(c, name));
    for (const auto& version : versions) out.push_back("azureml:" + name_of(version));
    return out;
  }
  LATHE_TRY(const auto versions, assets::asset_versions(c, assets::Kind::data, name, true));
  for (const auto& version : versions) out.push_back(fmt::format("azureml:{}:{}", name, version.version));
  return out;
}

}  // namespace

Result<Rebuilds::Origin> Rebuilds::origin_of(const registry::Version& version) {
  const auto what = name_of(version);
  if (version.run_id.empty())
    return fail(Code::conflict,
                fmt::format("{} was registered from files, and no run made it: there is nothing to run again", what));
  return db().read([&](db::Connection& c) -> Result<Origin> {
    const auto run = tracking::find_run(c, version.run_id);
    if (!run && run.error().code == Code::not_found)
      return fail(Code::conflict,
                  fmt::format("the run {} that made {} is gone, and with it what it ran", version.run_id, what));
    if (!run) return fail(run.error());
    Origin out;
    auto job = jobs::find_job(c, run->owner.value_or(run->run_id));
    if (!job && job.error().code == Code::not_found)
      return fail(
          Code::conflict,
          fmt::format("{} was made by the run {}, which was no job: only what ran as a job (`lathe job create`) "
                      "can be run again",
                      what, version.run_id));
    if (!job) return fail(job.error());
    out.job = std::move(*job);
    LATHE_TRY(const auto plan, json::parse(out.job.plan_json));
    LATHE_TRY(out.plan, json::from_json<jobs::Plan>(plan));
    return out;
  });
}

/// A reference that leads to what the job got. Errors: `conflict` — nothing does any more.
Result<json::Value> Rebuilds::same_input(const jobs::Input& input, const jobs::PlannedInput& planned,
                                         const jobs::Caller& caller) {
  if (planned.url) return input.reference;  // the job itself notes what it got: `compare` cannot know before
  const auto resolve = [&](const json::Value& reference) { return resolvers_.input(reference, input.type, caller); };
  const auto fits = [&](const Result<jobs::Resolved>& found) {
    return found && (!planned.digest || found->digest == planned.digest);
  };
  const auto now_is = resolve(input.reference);
  if (fits(now_is)) return input.reference;

  const auto shown = planned.source.value_or("what was uploaded");
  // A label leads to another version by now; the one of then may still be there.
  if (const auto reference = assets::parse_reference(shown)) {
    if (const auto* label = std::get_if<assets::NamedLabel>(&*reference)) {
      const bool model = input.type.ends_with("_model");
      LATHE_TRY(const auto versions,
                db().read([&](db::Connection& c) { return references_of(c, label->name, model); }));
      for (const auto& each : versions)
        if (const json::Value exact(each); fits(resolve(exact))) return exact;
    }
  }
  if (!now_is)
    return fail(Code::conflict, fmt::format("inputs.{}: {} is gone: {}", input.name, shown, now_is.error().message));
  return fail(
      Code::conflict,
      fmt::format(
          "inputs.{}: {} has changed since the job ran (SHA-256 {}... then, {}... now), and nothing kept what it was",
          input.name, shown, short_of(*planned.digest), short_of(now_is->digest.value_or("unknown"))));
}

Result<json::Value> Rebuilds::same_environment(json::Value asked, const jobs::Plan& plan, const jobs::Caller& caller) {
  // What its image was built from was kept, whatever became of the folder.
  if (const auto& recipe = plan.environment_recipe; recipe && recipe->context && asked.is_object())
    if (auto* build = asked.get_object().if_contains("build"); build != nullptr && build->is_object())
      build->get_object()["path"] = "tree:" + *recipe->context;
  const auto fits = [&](const json::Value& value) {
    json::Report unused;
    const auto found = resolvers_.environment(value, caller, false, unused);
    return found && found->digest == plan.environment_digest;
  };
  if (fits(asked)) return asked;
  if (asked.is_string()) {
    const auto reference = assets::parse_reference(json::view(asked.get_string()));
    const auto* label = reference ? std::get_if<assets::NamedLabel>(&*reference) : nullptr;
    if (label != nullptr) {
      LATHE_TRY(const auto versions, db().read([&](db::Connection& c) {
        return assets::asset_versions(c, assets::Kind::environment, label->name, true);
      }));
      for (const auto& version : versions)
        if (const json::Value exact(fmt::format("azureml:{}:{}", version.name, version.version)); fits(exact))
          return exact;
    }
  }
  return fail(Code::conflict,
              fmt::format("environment: {} is gone, or is another one by now (it ran as {})",
                          asked.is_string() ? std::string(json::view(asked.get_string())) : "it", plan.environment));
}

Result<json::Object> Rebuilds::document_again(const Origin& origin, const jobs::Caller& caller) {
  LATHE_TRY(auto document, json::parse_object(origin.job.document_json));
  json::Report unused;
  LATHE_TRY(const auto asked, jobs::read_document(document, unused));
  for (const char* key : {"name", "parent_job_name"}) document.erase(key);
  document["experiment_name"] = origin.job.experiment_name;
  if (origin.plan.code) {
    document["code"] = json::Object{{"tree", *origin.plan.code}};
    if (!resolvers_.code(document["code"], caller))
      return fail(Code::conflict,
                  fmt::format("code: the snapshot {}... of its code is gone", short_of(*origin.plan.code)));
  }
  for (const auto& input : asked.inputs) {
    if (input.literal) continue;
    for (const auto& planned : origin.plan.inputs)
      if (planned.name == input.name) {
        LATHE_TRY(document["inputs"].as_object()[input.name].as_object()["path"], same_input(input, planned, caller));
      }
  }
  if (const auto* environment = json::find(document, "environment")) {
    LATHE_TRY(auto same, same_environment(*environment, origin.plan, caller));
    document["environment"] = std::move(same);
  }
  // Its outputs become no versions of data.
  if (auto* outputs = document.if_contains("outputs"); outputs != nullptr && outputs->is_object())
    for (auto& output : outputs->get_object())
      if (auto* fields = output.value().if_object())
        for (const char* key : {"name", "version"}) fields->erase(key);
  return document;
}

Result<jobs::JobAnswer> Rebuilds::submit(const registry::Version& version, const std::string& compute,
                                         const jobs::Caller& caller) {
  LATHE_TRY(const auto origin, origin_of(version));
  LATHE_TRY(auto document, document_again(origin, caller));
  if (!compute.empty()) document["compute"] = compute;
  document["display_name"] = fmt::format("{} (rebuild of {})", origin.job.display_name, name_of(version));
  object_at(document, "tags")[tracking::kRebuilds] = name_of(version);
  return jobs_.submit(document, origin.plan.strict, caller);
}

}  // namespace lathe::rebuild
