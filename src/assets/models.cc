#include "assets/models.h"

#include <charconv>
#include <system_error>

#include "assets/artifact_files.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"
#include "json/yaml.h"
#include "tracking/tracking.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kArtifacts = "mlflow-artifacts:/";

json::Value parsed(const std::string& text) {
  auto value = json::parse(text);
  return value ? std::move(*value) : json::Value(json::Object{});
}

/// The flavors that the tree's MLmodel names, or nullopt without such a file.
std::optional<json::Value> read_flavors(const BlobStore& blobs, const Tree& tree) {
  for (const auto& file : tree.files) {
    if (file.path != "MLmodel") continue;
    const auto text = read_file(blobs.path_of(file.sha256), std::size_t{4} << 20);
    if (!text) return std::nullopt;
    auto document = json::parse_yaml(*text, "MLmodel");
    if (!document || !document->value.is_object()) return std::nullopt;
    const auto* flavors = json::find(document->value.get_object(), "flavors");
    return flavors != nullptr ? *flavors : json::Value(json::Object{});
  }
  return std::nullopt;
}

/// What is to be kept of a tree whose files are blobs.
Result<ModelContent> content_of(const BlobStore& blobs, const Tree& tree) {
  if (tree.files.empty()) return fail(Code::invalid, "the folder is empty: a model has at least one file");
  const auto flavors = read_flavors(blobs, tree);
  ModelContent content;
  LATHE_TRY(content.tree, blobs.put_tree(tree));
  content.type = flavors ? "mlflow_model" : "custom_model";
  content.flavors = flavors.value_or(json::Object{});
  content.size_bytes = tree.size_bytes();
  return content;
}

Result<std::int64_t> read_version(const std::string& field, const std::string& text) {
  std::int64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error == std::errc{} && end == text.data() + text.size() && version > 0) return version;
  return fail(Code::invalid, field + ": a model's version is a whole number from 1, as MLflow's clients expect, not \"" +
                                 printable(text) + "\"");
}

ModelContent read_content(const db::Row& row) {
  return ModelContent{row.text(0), row.text(1), row.text(2), row.integer(3), parsed(row.text(4))};
}

Result<std::optional<ModelContent>> find_content(db::Connection& c, const std::string& name, std::int64_t version) {
  static constexpr auto kSql =
      "SELECT type, path, tree, size_bytes, flavors FROM model_content WHERE model = $1 AND version = $2";
  LATHE_TRY(auto found, db::first(c, kSql, read_content, name, version));
  return found;
}

Result<void> keep_content(db::Connection& c, const std::string& name, std::int64_t version, const ModelContent& content) {
  static constexpr auto kSql = R"sql(
    INSERT INTO model_content (model, version, type, path, tree, size_bytes, flavors) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (model, version) DO NOTHING)sql";
  LATHE_CHECK(db::run(c, kSql, name, version, content.type, content.path, content.tree, content.size_bytes,
                      json::print(content.flavors)));
  return {};
}

Result<bool> version_exists(db::Connection& c, const std::string& name, std::int64_t version) {
  const auto found = registry::find_version(c, name, version);
  if (!found && found.error().code != Code::not_found) return fail(found.error());
  return found.has_value();
}

/// The registry's own errors are worded as MLflow's clients know them; people get the nearest names.
Result<void> check_model(db::Connection& c, const std::string& name) {
  LATHE_TRY(const bool exists, registry::model_exists(c, name));
  if (exists) return {};
  LATHE_TRY(const auto names, registry::model_names(c));
  return fail(Code::not_found, unknown_name("model", name, names));
}

json::Value known_or_unknown(const std::optional<std::string>& text) {
  return text ? json::Value(boost::json::string_view(*text)) : json::Value("unknown");
}

}  // namespace

struct Models::Source {
  fs::path path;            ///< a folder or a file; empty for what is among the artifacts
  std::string artifact_uri; ///< where MLflow's clients find it; empty: not among the artifacts
  std::string run_id;
};

Result<Models::Source> Models::locate(const Reference& reference, const http::Principal& who, bool local) {
  if (const auto* of_run = std::get_if<OfRun>(&reference)) {
    LATHE_TRY(const auto run, assets_.db().read([&](db::Connection& c) { return tracking::find_run(c, of_run->run); }));
    if (!run.artifact_uri.starts_with(kArtifacts))
      return fail(Code::invalid, "the artifacts of run \"" + of_run->run + "\" are not kept by this server");
    return Source{{}, run.artifact_uri + (of_run->path.empty() ? "" : "/" + of_run->path), run.run_id};
  }
  if (std::holds_alternative<Url>(reference))
    return fail(Code::invalid, "the server fetches nothing from elsewhere: download the model and give its folder");
  if (std::holds_alternative<NamedVersion>(reference) || std::holds_alternative<NamedLabel>(reference))
    return fail(Code::invalid, "must be a folder or a file, or lead into a job's outputs, not to another asset");
  LATHE_TRY(const auto found, assets_.resolve_content(reference, who, local));
  return Source{found.local, {}, {}};
}

/// `ours`: written by this server, which never changes a file in place.
Result<ModelContent> Models::take(const fs::path& path, bool ours) {
  const auto& blobs = assets_.blobs();
  Tree tree;
  if (fs::is_directory(path)) {
    LATHE_TRY(auto scan, scan_data(path, assets_.digests(), ours ? Reach::no_links : Reach::everything));
    tree = std::move(scan.tree);
    LATHE_CHECK(blobs.take_folder(path, tree, ours));
  } else {
    LATHE_TRY(const auto known, assets_.digests().digest_of(path, false));
    LATHE_TRY(tree, make_tree({{path.filename().string(), known.sha256, known.size, false}}));
    LATHE_CHECK(blobs.take_folder(path.parent_path(), tree, ours));
  }
  return content_of(blobs, tree);
}

/// A folder or a file at a path among the artifacts. Errors: `not_found`.
Result<ModelContent> Models::take_artifacts(const std::string& path) {
  LATHE_CHECK(storage::check_path(path));
  if (const auto folder = artifacts_.folder()) {
    std::error_code ignored;
    if (!fs::exists(*folder / path, ignored)) return fail(Code::not_found, "there is no artifact \"" + path + "\"");
    return take(*folder / path, true);
  }
  LATHE_TRY(const auto tree, fetch_artifacts(artifacts_, path, assets_.blobs()));
  return content_of(assets_.blobs(), tree);
}

Result<json::Value> Models::create(const json::Object& document, const http::Principal& who, bool local, bool strict) {
  json::Report report;
  LATHE_CHECK(check_fields(document, {"name", "version", "path", "type", "description", "tags", "flavors"},
                           {{"properties", "Lathe keeps tags, not properties"},
                            {"stage", "versions are named by aliases"},
                            {"job_name", "the path tells which job made it"},
                            {"datastore", "the path names where the model is"}},
                           report));
  registry::VersionSpec spec;
  LATHE_TRY(spec.name, json::need_string(document, "name"));
  LATHE_CHECK(check_name(spec.name));
  LATHE_TRY(const auto path, json::need_string(document, "path"));
  if (const auto* version = json::find(document, "version")) {
    LATHE_TRY(spec.version, read_version("version", version->is_string() ? std::string(json::view(version->get_string()))
                                                                         : json::print(*version)));
  }
  LATHE_TRY(const auto type, json::get_string(document, "type"));
  if (type && *type != "custom_model" && *type != "mlflow_model" && *type != "triton_model")
    return fail(Code::invalid, "type: must be custom_model, mlflow_model or triton_model, not \"" + printable(*type) + "\"");
  LATHE_TRY(const auto* flavors, json::get_object(document, "flavors"));
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  spec.description = description.value_or("");
  LATHE_TRY(const auto tags, read_tags(document));
  for (const auto& [key, value] : tags) spec.tags.push_back({key, value});
  LATHE_CHECK(json::refuse_if_strict(report, strict));

  const auto reference = parse_reference(path);
  if (!reference) return fail_in("path", reference.error());
  const auto source = locate(*reference, who, local);
  if (!source) return fail_in("path", source.error());
  auto content = source->path.empty() ? take_artifacts(source->artifact_uri.substr(kArtifacts.size())) : take(source->path, false);
  if (!content) return fail_in("path", content.error());
  if (type == "mlflow_model" && content->type != "mlflow_model")
    return fail(Code::invalid, "type: is mlflow_model, but the folder holds no file named MLmodel");
  if (type) content->type = *type;
  if (flavors != nullptr) content->flavors = *flavors;
  content->path = path;

  spec.artifact_uri = source->artifact_uri;
  spec.run_id = source->run_id;
  if (spec.artifact_uri.empty()) {
    // Among the artifacts, so that MLflow's clients can download it too.
    const std::string place = "0/models/m-" + random_hex(16) + "/artifacts";
    LATHE_TRY(const auto tree, assets_.blobs().tree(content->tree));
    LATHE_CHECK(lay_out_artifacts(artifacts_, place, assets_.blobs(), tree));
    spec.artifact_uri = std::string(kArtifacts) + place;
  }
  spec.source = spec.artifact_uri;
  spec.created_by = who.user;
  spec.create_model = true;
  LATHE_TRY(const auto made, assets_.db().write([&](db::Connection& c) -> Result<registry::Version> {
    if (spec.version) {
      LATHE_TRY(const bool exists, version_exists(c, spec.name, *spec.version));
      if (exists) {
        LATHE_TRY(const auto known, find_content(c, spec.name, *spec.version));
        if (known && known->tree == content->tree) return registry::find_version(c, spec.name, *spec.version);
        return fail(Code::conflict, "version: model \"" + spec.name + ":" + std::to_string(*spec.version) +
                                        "\" exists with other content, and versions never change: leave the version out "
                                        "to get the next one");
      }
    }
    LATHE_TRY(auto version, registry::create_version(c, spec, now()));
    LATHE_CHECK(keep_content(c, version.name, version.version, *content));
    return version;
  }));
  LATHE_TRY(auto answer, show(made));
  if (!report.empty()) answer.as_object()["report"] = json::to_json(report);
  return answer;
}

Result<registry::Version> Models::find_version(const std::string& name, const std::string& version) {
  LATHE_TRY(const auto number, read_version("version", version));
  return assets_.db().read([&](db::Connection& c) -> Result<registry::Version> {
    LATHE_CHECK(check_model(c, name));
    return registry::find_version(c, name, number);
  });
}

Result<registry::Version> Models::find_by_label(const std::string& name, const std::string& label) {
  return assets_.db().read([&](db::Connection& c) -> Result<registry::Version> {
    LATHE_CHECK(check_model(c, name));
    return registry::find_version_by_label(c, name, label);
  });
}

Result<registry::Version> Models::find(const std::string& text) {
  LATHE_TRY(const auto reference, parse_reference(text));
  if (const auto* named = std::get_if<NamedVersion>(&reference)) return find_version(named->name, named->version);
  const auto* label = std::get_if<NamedLabel>(&reference);
  if (label == nullptr)
    return fail(Code::invalid, "must be azureml:NAME:VERSION or azureml:NAME@LABEL, not \"" + printable(text) + "\"");
  return find_by_label(label->name, label->label);
}

Result<ModelContent> Models::content(const registry::Version& version) {
  LATHE_TRY(auto known, assets_.db().read([&](db::Connection& c) { return find_content(c, version.name, version.version); }));
  if (known && assets_.blobs().has(known->tree)) return std::move(*known);

  // Nobody asked yet, or the store came to another data folder: the artifacts have the files.
  const std::string what = "model \"" + version.name + ":" + std::to_string(version.version) + "\"";
  const auto uri = version.artifact_uri.empty() ? version.source : version.artifact_uri;
  if (!uri.starts_with(kArtifacts))
    return fail(Code::invalid, what + " lies at " + printable(uri) + ", outside this server: register it from a folder");
  auto taken = take_artifacts(uri.substr(kArtifacts.size()));
  if (!taken && taken.error().code == Code::not_found)
    return fail(Code::not_found, "the files of " + what + " are gone from " + uri);
  if (!taken) return fail_in(what, taken.error());
  if (known && taken->tree != known->tree)
    return fail(Code::conflict, "the files of " + what + " at " + uri + " are not those that were registered");
  if (known) return std::move(*known);
  LATHE_CHECK(assets_.db().write(
      [&](db::Connection& c) { return keep_content(c, version.name, version.version, *taken); }));
  return taken;
}

Result<ModelContent> Models::content_at(const std::string& artifact_uri) {
  if (!artifact_uri.starts_with(kArtifacts))
    return fail(Code::invalid, "a model lies at " + printable(artifact_uri) + ", outside this server");
  return take_artifacts(artifact_uri.substr(kArtifacts.size()));
}

Result<fs::path> Models::folder(const registry::Version& version) {
  LATHE_TRY(const auto known, content(version));
  return assets_.blobs().view(known.tree);
}

Result<Resolved> Models::resolve(const std::string& reference) {
  LATHE_TRY(const auto version, find(reference));
  LATHE_TRY(const auto known, content(version));
  Resolved out;
  LATHE_TRY(out.local, assets_.blobs().view(known.tree));
  out.type = known.type;
  out.digest = known.tree;
  out.size_bytes = known.size_bytes;
  out.name = version.name;
  out.version = std::to_string(version.version);
  return out;
}

Result<json::Value> Models::summary(const registry::Version& version) {
  json::Object tags;
  for (const auto& tag : version.tags) tags[tag.key] = tag.value;
  json::Array aliases;
  for (const auto& alias : version.aliases) aliases.emplace_back(alias);
  LATHE_TRY(const auto known, assets_.db().read([&](db::Connection& c) { return find_content(c, version.name, version.version); }));
  json::Object out{{"name", version.name},
                   {"version", std::to_string(version.version)},
                   {"type", known ? known->type : "mlflow_model"},
                   {"path", known && !known->path.empty() ? known->path : version.source},
                   {"description", version.description},
                   {"tags", std::move(tags)},
                   {"aliases", std::move(aliases)},
                   {"archived", version.archived},
                   {"creation_context", json::to_json(CreationContext{version.created_by,
                                                                      to_iso8601(from_micros(version.created_us))})}};
  if (known) out["digest"] = known->tree;
  if (known) out["size_bytes"] = known->size_bytes;
  if (!version.run_id.empty()) out["run_id"] = version.run_id;
  return json::Value(std::move(out));
}

Result<json::Value> Models::show(const registry::Version& version) {
  const auto known = content(version);
  LATHE_TRY(auto value, summary(version));
  auto& out = value.as_object();
  if (known) {
    out["flavors"] = known->flavors;
    LATHE_TRY(const auto tree, assets_.blobs().tree(known->tree));
    out["files"] = json::to_json(tree.files);
  } else {
    // The version is still worth showing when its files are gone.
    out["files_error"] = known.error().message;
  }
  LATHE_TRY(out["triple"], triple(version));
  return value;
}

Result<json::Value> Models::triple(const registry::Version& version) {
  std::optional<tracking::Run> run;
  std::optional<JobOrigin> job;
  if (!version.run_id.empty()) {
    LATHE_CHECK(assets_.db().read([&](db::Connection& c) -> Result<void> {
      auto found = tracking::load_run(c, version.run_id);
      if (!found) return found.error().code == Code::not_found ? Result<void>{} : fail(found.error());
      run = std::move(*found);
      // What a job's run did in a child run is the job's work too.
      LATHE_TRY(job, find_job_(c, run->info.owner.value_or(run->info.run_id)));
      return {};
    }));
  }
  json::Object algorithm{{"code", known_or_unknown(job ? job->code_digest : std::nullopt)},
                         {"environment", known_or_unknown(job ? job->environment_digest : std::nullopt)}};
  json::Value data = "unknown";
  json::Object parameters;
  json::Object metrics;
  if (job) {
    algorithm["environment_runs_as"] = job->environment_runs_as;
    algorithm["command"] = job->command;
    json::Array inputs;
    for (const auto& input : job->data)
      inputs.push_back(json::Object{
          {"name", input.name}, {"reference", input.reference}, {"digest", known_or_unknown(input.digest)}});
    if (!inputs.empty()) data = std::move(inputs);
    for (const auto& [key, text] : job->parameters) parameters[key] = text;
  }
  if (run) {
    for (const auto& param : run->params) parameters[param.key] = param.value;
    for (const auto& metric : run->metrics) metrics[metric.key] = metric.value;
    for (const auto& tag : run->tags)
      if (tag.key == "mlflow.source.git.commit") algorithm["git_commit"] = tag.value;
  }
  json::Object out{{"algorithm", std::move(algorithm)}, {"data", std::move(data)}};
  out["hyperparameters"] = parameters.empty() ? json::Value("unknown") : json::Value(std::move(parameters));
  out["run_id"] = run ? json::Value(boost::json::string_view(run->info.run_id)) : json::Value("unknown");
  if (job && run) out["job"] = run->info.owner.value_or(run->info.run_id);
  if (run) out["metrics"] = std::move(metrics);
  return json::Value(std::move(out));
}

}  // namespace lathe::assets
