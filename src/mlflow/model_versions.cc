#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "mlflow/places.h"
#include "mlflow/table.h"
#include "tracking/rebuild_tags.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

struct Named {
  std::string name;
  std::int64_t version = 0;
};

Result<Named> named(const Message& fields) {
  Named out;
  LATHE_TRY(out.name, fields.need("name"));
  LATHE_TRY(out.version, version_of(fields));
  return out;
}

Result<json::Object> version_answer(db::Connection& c, const Named& named) {
  LATHE_TRY(const auto version, registry::find_version(c, named.name, named.version));
  return json::Object{{"model_version", to_wire(version)}};
}

bool is_prompt(const std::vector<Pair>& tags) {
  return std::any_of(tags.begin(), tags.end(), [](const Pair& tag) { return tag.key == "mlflow.prompt.is_prompt"; });
}

/// Where the version's files are, and whose. A prompt has no files: its source is a word, and its text is in a tag.
Result<Source> source_of(db::Connection& c, const Asked& asked, const std::string& source, const std::string& run_id,
                         bool prompt) {
  const bool word = std::all_of(source.begin(), source.end(),
                                [](unsigned char ch) { return std::isalnum(ch) != 0 || ch == '-' || ch == '_'; });
  if (!prompt || !word) return resolve_source(c, asked.who(), source, run_id);
  if (asked.who().run) return fail(Code::forbidden, "a job's token registers models from its own runs, and no prompts");
  return Source{source, run_id, {}};
}

/// A logged model says in a tag which versions were made of it: MLflow's clients and pages read that.
Result<void> note_version(db::Connection& c, const std::string& model_id, const registry::Version& version, Time now) {
  static constexpr std::string_view kVersions = "mlflow.modelVersions";
  constexpr std::size_t kMost = 7900;
  LATHE_TRY(const auto model, tracking::find_logged_model(c, model_id));
  std::string list;
  for (const auto& tag : model.tags)
    if (tag.key == kVersions && tag.value.size() > 2) list = tag.value.substr(1, tag.value.size() - 2) + ", ";
  list += fmt::format("{{\"name\": {}, \"version\": {}}}", json::print(json::Value(version.name)), version.version);
  if (list.size() > kMost) return {};
  return tracking::set_model_tags(c, model_id, {{std::string(kVersions), "[" + list + "]"}}, now);
}

/// A rebuild registers nothing. Where its model lies is noted beside its run, and the answer is the version that it
/// repeats; of other models, the one that the run registered which it repeats.
Result<json::Object> note_rebuilt(db::Connection& c, const Asked& asked, const std::string& rebuilt,
                                  const registry::VersionSpec& spec) {
  const auto colon = rebuilt.rfind(':');
  const std::string name = rebuilt.substr(0, colon);
  LATHE_TRY(const auto repeated, registry::find_version(c, name, std::atoll(rebuilt.c_str() + colon + 1)));
  if (spec.name == name) {
    LATHE_CHECK(tracking::set_tag(c, *asked.who().run, std::string(tracking::kRebuilt), spec.artifact_uri));
    return json::Object{{"model_version", to_wire(repeated)}};
  }
  LATHE_TRY(const auto others, registry::versions(c, spec.name));
  for (const auto& other : others)
    if (other.run_id == repeated.run_id) return json::Object{{"model_version", to_wire(other)}};
  return fail(Code::forbidden, fmt::format("this job rebuilds {} and registers nothing, and the run that it repeats has no "
                                           "version of \"{}\"", rebuilt, spec.name));
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  registry::VersionSpec spec;
  LATHE_TRY(spec.name, asked.fields.need("name"));
  LATHE_TRY(spec.source, asked.fields.need("source"));
  LATHE_TRY(const auto run_id, asked.fields.text("run_id"));
  LATHE_TRY(spec.run_link, asked.fields.text("run_link"));
  LATHE_TRY(spec.description, asked.fields.text("description"));
  LATHE_TRY(spec.model_id, asked.fields.text("model_id"));
  LATHE_TRY(auto tags, asked.fields.pairs("tags"));
  LATHE_TRY(auto source, source_of(c, asked, spec.source, run_id, is_prompt(tags)));
  for (auto& tag : tags) spec.tags.push_back({std::move(tag.key), std::move(tag.value)});
  spec.artifact_uri = std::move(source.artifact_uri);
  spec.run_id = std::move(source.run_id);
  const bool of_model = !spec.model_id.empty();
  if (of_model) {
    LATHE_TRY(const auto model, tracking::writable_logged_model(c, asked.who(), spec.model_id));
    if (spec.run_id.empty()) spec.run_id = model.source_run_id;
  } else {
    spec.model_id = std::move(source.model_id);
  }
  spec.created_by = asked.who().user;
  LATHE_TRY(const auto rebuilt, rebuilt_by(c, asked.who()));
  if (rebuilt) return note_rebuilt(c, asked, *rebuilt, spec);
  LATHE_TRY(const auto version, registry::create_version(c, spec, asked.now));
  if (of_model) LATHE_CHECK(note_version(c, spec.model_id, version, asked.now));
  return json::Object{{"model_version", to_wire(version)}};
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  return version_answer(c, which);
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  registry::Search search;
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.limit, limit_of(asked.fields, 10'000));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, registry::search_versions(c, search));
  json::Array versions;
  for (const auto& version : page.items) versions.push_back(to_wire(version));
  json::Object out;
  if (!versions.empty()) out["model_versions"] = std::move(versions);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

Result<json::Object> update(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto description, asked.fields.text("description"));
  LATHE_CHECK(registry::describe_version(c, which.name, which.version, description, asked.now));
  return version_answer(c, which);
}

Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_CHECK(registry::delete_version(c, which.name, which.version, asked.now));
  return json::Object{};
}

Result<json::Object> transition(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto stage, asked.fields.need("stage"));
  LATHE_TRY(const bool archive, asked.fields.flag("archive_existing_versions"));
  LATHE_CHECK(registry::move_to_stage(c, which.name, which.version, stage, archive, asked.now));
  return version_answer(c, which);
}

Result<json::Object> download_uri(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto version, registry::find_version(c, which.name, which.version));
  return json::Object{{"artifact_uri", version.artifact_uri}};
}

Result<json::Object> set_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(auto key, asked.fields.need("key"));
  LATHE_TRY(auto value, asked.fields.text("value"));
  LATHE_CHECK(registry::set_version_tag(c, which.name, which.version, {std::move(key), std::move(value)}));
  return json::Object{};
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto key, asked.fields.need("key"));
  LATHE_CHECK(registry::delete_version_tag(c, which.name, which.version, key));
  return json::Object{};
}

}  // namespace

Result<std::optional<std::string>> rebuilt_by(db::Connection& c, const http::Principal& who) {
  if (!who.run) return std::optional<std::string>();
  LATHE_TRY(const auto run, tracking::find_run(c, *who.run));
  return tracking::find_tag(c, run, tracking::kRebuilds);
}

void add_model_version_routes(Table& table) {
  table.write("version_create", Method::post, "/mlflow/model-versions/create", Right::track,
              "Register a model's files as its next version.", create);
  table.read("version_get", Method::get, "/mlflow/model-versions/get", "One version.", get);
  table.read("version_search", Method::get, "/mlflow/model-versions/search", "Versions that match a filter.", search);
  table.write("version_update", Method::patch, "/mlflow/model-versions/update", Right::write,
              "Change a version's description.", update);
  table.write("version_delete", Method::del, "/mlflow/model-versions/delete", Right::write,
              "Remove a version; its files stay.", remove);
  table.write("version_transition", Method::post, "/mlflow/model-versions/transition-stage", Right::write,
              "Move a version to another stage.", transition);
  table.read("version_download_uri", Method::get, "/mlflow/model-versions/get-download-uri",
             "Where a version's files are.", download_uri);
  table.write("version_set_tag", Method::post, "/mlflow/model-versions/set-tag", Right::write, "Set a tag.", set_tag);
  table.write("version_delete_tag", Method::del, "/mlflow/model-versions/delete-tag", Right::write, "Remove a tag.",
              delete_tag);
}

}  // namespace lathe::mlflow
