// `lathe store import --from-mlflow URL`: reads another MLflow server record by record, and gives each to this server's
// import routes. Whatever is complete here is passed over, so that an import that broke off is simply run again.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <set>

#include "base/ids.h"
#include "base/text.h"
#include "cli/exit_codes.h"
#include "cli/handlers.h"
#include "cli/mlflow_source.h"
#include "cli/session.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr std::size_t kPointsPerCall = 1000;
constexpr int kHistoryPage = 25'000;

struct Counts {
  std::int64_t experiments = 0, runs = 0, points = 0, logged_models = 0, registered_models = 0, model_versions = 0;
  std::int64_t artifacts = 0, artifact_bytes = 0;
  std::int64_t experiments_before = 0, runs_before = 0, registered_models_before = 0, model_versions_before = 0;
};

/// A bar on a terminal, else a line now and then.
class Progress {
 public:
  void show(const std::string& where, const Counts& counts) {
    const auto at = steady_clock::now();
    if (at - last_ < (terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(10))) return;
    last_ = at;
    const auto line = fmt::format("{}: {} runs, {} points, {} files ({:.1f} MB)", where, counts.runs, counts.points,
                                  counts.artifacts, static_cast<double>(counts.artifact_bytes) / 1e6);
    if (terminal_)
      fmt::print(stderr, "\r\x1b[K{}", line);
    else
      Session::say(line);
  }
  void say(const std::string& line) {
    if (terminal_) fmt::print(stderr, "\r\x1b[K");
    Session::say(line);
  }
  static std::string bar(std::size_t done, std::size_t all) {
    constexpr std::size_t kWidth = 20;
    const auto filled = all == 0 ? kWidth : kWidth * done / all;
    return fmt::format("[{}{}] {}/{}", std::string(filled, '#'), std::string(kWidth - filled, ' '), done, all);
  }

 private:
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  steady_clock::time_point last_ = steady_clock::now();
};

class Importer {
 public:
  Importer(Session& session, MlflowSource& source, std::string identity, fs::path scratch)
      : session_(session),
        source_(source),
        identity_(std::move(identity)),
        suffix_(session.arguments.get_or("--rename-suffix", "")),
        scratch_(std::move(scratch)) {}

  Result<void> run() {
    LATHE_TRY(const auto experiments,
              all("experiments/search", {{"view_type", "ALL"}, {"max_results", 1000}}, "experiments"));
    for (std::size_t i = 0; i < experiments.size(); ++i) {
      where_ = fmt::format("{} {}", Progress::bar(i, experiments.size()), text_in(experiments[i], "name"));
      LATHE_CHECK(experiment(experiments[i]));
    }
    where_ = "registered models";
    return registry();
  }

  json::Value summary() const {
    return json::Object{{"source", source_.name()},
                        {"taken", json::Object{{"experiments", counts_.experiments},
                                               {"runs", counts_.runs},
                                               {"metric_points", counts_.points},
                                               {"logged_models", counts_.logged_models},
                                               {"artifacts", counts_.artifacts},
                                               {"artifact_bytes", counts_.artifact_bytes},
                                               {"registered_models", counts_.registered_models},
                                               {"model_versions", counts_.model_versions}}},
                        {"here_before", json::Object{{"experiments", counts_.experiments_before},
                                                     {"runs", counts_.runs_before},
                                                     {"registered_models", counts_.registered_models_before},
                                                     {"model_versions", counts_.model_versions_before}}},
                        {"skipped", skipped_},
                        {"never_taken", json::Array{"traces", "evaluation data sets", "webhooks",
                                                    "users and permissions", "logged models that were deleted there"}}};
  }
  bool skipped_any() const { return !skipped_.empty(); }

 private:
  Result<std::vector<json::Value>> all(const std::string& path, const json::Object& body, const std::string& list) {
    std::vector<json::Value> out;
    LATHE_CHECK(source_.each(path, &body, list, [&](const json::Object& item) -> Result<void> {
      out.emplace_back(item);
      return {};
    }));
    return out;
  }

  Result<json::Value> import(std::string_view kind, const std::string& id, const json::Value& record,
                             json::Object more = {}) {
    more["source"] = identity_;
    more["url"] = source_.name();
    more["id"] = id;
    more["record"] = record;
    const json::Value body = std::move(more);
    return session_.call("POST", fmt::format("/api/v1/import/{}", kind), &body);
  }

  /// What cannot be taken is said and noted; anything else ends the import, which can be run again.
  Result<void> skip(std::string_view kind, const std::string& id, const std::string& name, const Error& why) {
    if (why.code == Code::unavailable || why.code == Code::unauthenticated || why.code == Code::forbidden ||
        why.code == Code::timeout || why.code == Code::exhausted || why.code == Code::internal)
      return fail(why);
    progress_.say(fmt::format("lathe: skipped {} {}{}: {}", kind, id,
                              name.empty() || name == id ? "" : " (" + name + ")", why.message));
    skipped_.push_back(json::Object{{"kind", kind}, {"id", id}, {"name", name}, {"why", why.message}});
    return {};
  }

  /// Some servers fail over single files, by their names or where they lie: that does not end the import.
  static Error unreadable(Error error) {
    if (error.code == Code::unavailable) error.code = Code::not_found;
    return error;
  }

  Result<void> experiment(const json::Value& record) {
    const auto id = text_in(record, "experiment_id");
    const auto name = text_in(record, "name");
    const json::Object of_this{{"experiment_ids", json::Array{id}},
                               {"run_view_type", "ALL"},
                               {"max_results", 500},
                               {"order_by", json::Array{"attributes.start_time ASC"}}};
    LATHE_TRY(auto models, models_of(id));
    if (name == "Default" && models.empty()) {
      auto one = of_this;
      one["max_results"] = 1;
      LATHE_TRY(const auto first, source_.post("runs/search", one));
      if (find_field(first, "runs") == nullptr) return {};
    }
    const auto here = import_named("experiment", id, name, record);
    if (!here) return skip("experiment", id, name, here.error());
    const auto target = text_in(*here, "target");
    for (const auto& model : models) LATHE_CHECK(logged_model(model, target));
    LATHE_CHECK(
        source_.each("runs/search", &of_this, "runs", [&](const json::Object& run) { return this->run(run, target); }));
    LATHE_CHECK(import("experiment_end", id, record, {{"experiment", target}}));
    ++(was_here(*here) ? counts_.experiments_before : counts_.experiments);
    return {};
  }

  /// It came whole with an earlier import: only what it holds may be new.
  static bool was_here(const json::Value& answer) { return text_in(answer, "complete") == "true"; }

  /// Under its name or, where that is taken by something else, with the suffix that was asked for.
  Result<json::Value> import_named(std::string_view kind, const std::string& id, const std::string& name,
                                   const json::Value& record) {
    auto here = import(kind, id, record, {{"name", name}});
    if (here || here.error().code != Code::conflict || suffix_.empty()) return here;
    return import(kind, id, record, {{"name", name + suffix_}});
  }

  /// An MLflow before 3 has no logged models.
  Result<std::vector<json::Value>> models_of(const std::string& experiment) {
    auto found =
        all("logged-models/search", {{"experiment_ids", json::Array{experiment}}, {"max_results", 50}}, "models");
    if (!found && found.error().code == Code::not_found) return std::vector<json::Value>{};
    return found;
  }

  Result<void> logged_model(const json::Value& record, const std::string& experiment) {
    const auto* info = find_field(record, "info");
    if (info == nullptr) return {};
    const auto id = text_in(*info, "model_id");
    auto here = import("logged_model", id, record, {{"experiment", experiment}});
    if (!here) return skip("logged_model", id, text_in(*info, "name"), here.error());
    if (text_in(*here, "complete") == "true") return {};
    const auto skipped = skipped_.size();
    LATHE_CHECK(artifacts(text_in(*info, "artifact_uri"), id, true, text_in(*here, "artifact_uri")));
    LATHE_CHECK(import("logged_model_end", id, *info, {{"partial", skipped_.size() > skipped}}));
    ++counts_.logged_models;
    return {};
  }

  Result<void> run(const json::Value& record, const std::string& experiment) {
    const auto* info = find_field(record, "info");
    if (info == nullptr) return {};
    const auto id = text_in(*info, "run_id");
    auto here = import("run", id, record, {{"experiment", experiment}});
    if (!here) return skip("run", id, text_in(*info, "run_name"), here.error());
    progress_.show(where_, counts_);
    if (text_in(*here, "complete") == "true") {
      ++counts_.runs_before;
      return {};
    }
    const auto skipped = skipped_.size();
    if (const auto* metrics = find_field(record, "data.metrics"); metrics != nullptr && metrics->is_array())
      for (const auto& metric : metrics->get_array()) LATHE_CHECK(history(id, text_in(metric, "key")));
    LATHE_CHECK(artifacts(text_in(*info, "artifact_uri"), id, false, text_in(*here, "artifact_uri")));
    LATHE_CHECK(import("run_end", id, *info, {{"partial", skipped_.size() > skipped}}));
    ++counts_.runs;
    return {};
  }

  Result<void> history(const std::string& run, const std::string& key) {
    json::Array points;
    const auto send = [&]() -> Result<void> {
      if (points.empty()) return {};
      counts_.points += static_cast<std::int64_t>(points.size());
      const json::Value body = json::Object{{"run_id", run}, {"metrics", std::move(points)}};
      points = {};
      progress_.show(where_, counts_);
      auto logged = session_.call("POST", "/api/2.0/mlflow/runs/log-batch", &body);
      if (!logged) return skip("metric", run, key, logged.error());
      return {};
    };
    const auto path = fmt::format("metrics/get-history?run_id={}&metric_key={}&max_results={}", url_encode(run),
                                  url_encode(key), kHistoryPage);
    LATHE_CHECK(source_.each(path, nullptr, "metrics", [&](const json::Object& point) -> Result<void> {
      json::Object kept;
      for (const auto* field : {"key", "value", "timestamp", "step"})
        if (const auto* value = json::find(point, field)) kept[field] = *value;
      points.push_back(std::move(kept));
      return points.size() >= kPointsPerCall ? send() : Result<void>{};
    }));
    return send();
  }

  /// Files that are here with the same size came with an earlier import.
  Result<void> artifacts(const std::string& uri, const std::string& id, bool model, const std::string& target) {
    auto files = source_.files(uri, id, model);
    if (!files) return skip("artifacts", id, uri, unreadable(files.error()));
    if (files->empty()) return {};
    const auto root = target.substr(target.find('/') + 1);
    std::map<std::string, std::int64_t> there;
    std::set<std::string> listed;
    for (const auto& file : *files) {
      const auto folder = file.path.substr(0, file.path.rfind('/') == std::string::npos ? 0 : file.path.rfind('/'));
      if (listed.insert(folder).second) LATHE_CHECK(list_here(root, folder, there));
      const auto known = there.find(file.path);
      if (known != there.end() && known->second == file.size) continue;
      LATHE_CHECK(artifact(uri, id, model, root, file));
    }
    return {};
  }

  Result<void> list_here(const std::string& root, const std::string& folder, std::map<std::string, std::int64_t>& out) {
    const auto path = folder.empty() ? root : root + "/" + folder;
    LATHE_TRY(const auto answer, session_.call("GET", "/api/2.0/mlflow-artifacts/artifacts?path=" + url_encode(path)));
    const auto* files = find_field(answer, "files");
    if (files == nullptr || !files->is_array()) return {};
    for (const auto& entry : files->get_array())
      if (text_in(entry, "is_dir") != "true")
        out[folder.empty() ? text_in(entry, "path") : folder + "/" + text_in(entry, "path")] =
            std::atoll(text_in(entry, "file_size").c_str());
    return {};
  }

  Result<void> artifact(const std::string& uri, const std::string& id, bool model, const std::string& root,
                        const MlflowSource::File& file) {
    const auto name = id + "/" + file.path;
    const auto scratch = scratch_.string();
    if (auto got = source_.download(uri, id, model, file.path, scratch); !got)
      return skip("artifact", name, "", unreadable(got.error()));
    std::string to = "/api/2.0/mlflow-artifacts/artifacts";
    const auto place = root + "/" + file.path;
    for (const auto part : split(place, '/')) to += "/" + url_encode(part);
    LATHE_TRY(auto* http, session_.client());
    const auto put = http->put_file(to, scratch);
    std::error_code ignored;
    const auto size = fs::file_size(scratch, ignored);
    fs::remove(scratch, ignored);
    if (!put) return fail(session_.explained(put.error()));
    if (put->status >= 400) return skip("artifact", name, "", session_.problem(*put));
    ++counts_.artifacts;
    counts_.artifact_bytes += static_cast<std::int64_t>(size);
    progress_.show(where_, counts_);
    return {};
  }

  // Searches leave prompts out unless they are asked for.
  static constexpr std::string_view kPrompts = "tags.`mlflow.prompt.is_prompt` = 'true'";

  Result<void> registry() {
    std::set<std::string> seen;
    for (const bool prompts : {false, true}) {
      const auto path =
          "registered-models/search?max_results=100" + (prompts ? "&filter=" + url_encode(kPrompts) : std::string());
      auto read = source_.each(path, nullptr, "registered_models", [&](const json::Object& record) -> Result<void> {
        const json::Value model = record;
        if (!seen.insert(text_in(model, "name")).second) return {};
        return registered_model(model, prompts);
      });
      if (!read) return read;
    }
    return {};
  }

  Result<void> registered_model(const json::Value& record, bool prompt) {
    const auto name = text_in(record, "name");
    const auto here = import_named("registered_model", name, name, record);
    if (!here) return skip("registered_model", name, "", here.error());
    const auto target = text_in(*here, "target");
    const auto quote = name.find('\'') == std::string::npos ? '\'' : '"';
    auto filter = fmt::format("name = {0}{1}{0}", quote, name);
    if (prompt) filter += fmt::format(" AND {}", kPrompts);
    const auto path = fmt::format("model-versions/search?max_results=200&filter={}", url_encode(filter));
    std::vector<json::Value> versions;
    LATHE_CHECK(source_.each(path, nullptr, "model_versions", [&](const json::Object& version) -> Result<void> {
      versions.emplace_back(version);
      return {};
    }));
    for (const auto& version : versions) LATHE_CHECK(model_version(version, name, target));
    auto ended = import("registered_model_end", name, record, {{"name", target}});
    if (!ended) LATHE_CHECK(skip("aliases", name, "", ended.error()));
    ++(was_here(*here) ? counts_.registered_models_before : counts_.registered_models);
    return {};
  }

  Result<void> model_version(const json::Value& record, const std::string& name, const std::string& target) {
    const auto number = text_in(record, "version");
    const auto id = name + ":" + number;
    // Where the source itself finds the files: a version's source may name another model.
    const auto place = source_.get(
        fmt::format("model-versions/get-download-uri?name={}&version={}", url_encode(name), url_encode(number)));
    const auto uri = place ? text_in(*place, "artifact_uri") : "";
    const auto here = import("model_version", id, record, {{"name", target}, {"artifact_uri", uri}});
    if (!here) return skip("model_version", id, "", here.error());
    ++(text_in(*here, "here_before") == "true" ? counts_.model_versions_before : counts_.model_versions);
    const bool prompt = uri.find('/') == std::string::npos;
    if (text_in(*here, "files") != "true" && !prompt)
      return skip("files_of_version", id, "",
                  Error{Code::not_found,
                        fmt::format("they lie at {}, which did not come along: the version is here by name", uri),
                        {}});
    return {};
  }

  Session& session_;
  MlflowSource& source_;
  const std::string identity_;
  const std::string suffix_;
  const fs::path scratch_;
  Progress progress_;
  std::string where_;
  Counts counts_;
  json::Array skipped_;
};

}  // namespace

Result<int> run_store_import(Session& session) {
  LATHE_TRY(const auto url, session.need("--from-mlflow"));
  LATHE_TRY(const auto source,
            MlflowSource::open(url, [](const char* name) { return static_cast<const char*>(std::getenv(name)); }));
  LATHE_CHECK(session.call("GET", "/api/v1/me"));
  LATHE_TRY(auto identity, source->identity());
  std::error_code error;
  const auto scratch = fs::temp_directory_path(error) / ("lathe-import-" + random_hex(8));
  Importer importer(session, *source, std::move(identity), scratch);
  const auto done = importer.run();
  fs::remove(scratch, error);
  if (!done) {
    LATHE_CHECK(session.print(importer.summary()));
    return fail_in("the import stopped, and goes on where it was when it is run again", done.error());
  }
  LATHE_CHECK(session.print(importer.summary()));
  return importer.skipped_any() ? kExitFailed : 0;
}

}  // namespace lathe::cli
