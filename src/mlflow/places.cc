#include "mlflow/places.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "registry/registry.h"
#include "storage/storage.h"
#include "tracking/lineage.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

constexpr std::size_t kSourceLimit = 500;

Error bad_source(const std::string& source) {
  return {Code::invalid,
          fmt::format("Invalid model version source: '{}'. It must be "
                      "mlflow-artifacts:/<experiment>/<run>/artifacts/..., runs:/<run>/..., "
                      "models:/... or s3://..., without relative parts",
                      printable(source.substr(0, 300))),
          {}};
}

/// The part after a "scheme:/", when the source has that scheme.
std::optional<std::string> after(const std::string& source, std::string_view scheme) {
  if (!source.starts_with(scheme)) return std::nullopt;
  return source.substr(scheme.size());
}

Result<Source> of_place(db::Connection& c, const std::string& source, const std::string& path) {
  LATHE_TRY(const auto place, parse_place(path));
  LATHE_CHECK(check_exists(c, place));
  Source out{source, place.run_id, place.model_id};
  if (!place.model_id.empty()) {
    LATHE_TRY(const auto model, tracking::find_logged_model(c, place.model_id));
    out.run_id = model.source_run_id;
  }
  return out;
}

Result<Source> of_run(db::Connection& c, const std::string& rest) {
  const auto slash = rest.find('/');
  LATHE_TRY(const auto run, tracking::find_run(c, rest.substr(0, slash)));
  const auto inner = slash == std::string::npos ? "" : rest.substr(slash);
  return Source{run.artifact_uri + inner, run.run_id, {}};
}

/// models:/m-<id>, models:/NAME/VERSION or models:/NAME@ALIAS
Result<Source> of_model(db::Connection& c, const std::string& rest) {
  if (rest.starts_with("m-") && rest.find('/') == std::string::npos) {
    LATHE_TRY(const auto model, tracking::find_logged_model(c, rest));
    return Source{model.artifact_uri, model.source_run_id, model.model_id};
  }
  if (const auto at = rest.find('@'); at != std::string::npos) {
    LATHE_TRY(const auto version, registry::find_version_by_alias(c, rest.substr(0, at), rest.substr(at + 1)));
    return Source{version.artifact_uri, version.run_id, version.model_id};
  }
  const auto slash = rest.find('/');
  std::int64_t number = 0;
  if (slash == std::string::npos) return fail(bad_source("models:/" + rest));
  const auto digits = rest.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size()) return fail(bad_source("models:/" + rest));
  LATHE_TRY(const auto version, registry::find_version(c, rest.substr(0, slash), number));
  return Source{version.artifact_uri, version.run_id, version.model_id};
}

Result<Source> resolve(db::Connection& c, const std::string& source) {
  // The same suspicion for all: nothing relative, also behind percent-encodings, no queries and no fragments.
  const auto colon = source.find(":/");
  if (source.size() > kSourceLimit || colon == std::string::npos || source.find('?') != std::string::npos)
    return fail(bad_source(source));
  auto rest = std::string_view(source).substr(colon + 1);
  while (rest.starts_with('/')) rest.remove_prefix(1);
  if (!storage::check_path(rest)) return fail(bad_source(source));

  if (const auto path = artifact_path(source)) return of_place(c, source, *path);
  if (const auto run = after(source, "runs:/")) return of_run(c, *run);
  if (const auto model = after(source, "models:/")) return of_model(c, *model);
  if (source.starts_with("s3://") && source.size() > 5) return Source{source, {}, {}};
  return fail(bad_source(source));
}

}  // namespace

Result<Place> parse_place(const std::string& path) {
  LATHE_CHECK(storage::check_path(path));
  const auto parts = split(path, '/');
  const auto refuse = [&] {
    return fail(Code::invalid, fmt::format("Invalid path: '{}'. Artifacts lie at <experiment id>/<run "
                                           "id>/artifacts/... or <experiment id>/models/<model "
                                           "id>/artifacts/...",
                                           printable(path.substr(0, 300))));
  };
  Place out;
  const bool model = parts.size() >= 4 && parts[1] == "models";
  const std::size_t artifacts = model ? 3 : 2;
  if (parts.size() <= artifacts || parts[artifacts] != "artifacts") return refuse();
  const auto experiment = tracking::parse_experiment_id(parts[0]);
  if (!experiment || !tracking::check_run_id(parts[artifacts - 1])) return refuse();
  out.experiment = *experiment;
  (model ? out.model_id : out.run_id) = parts[artifacts - 1];
  const auto names_nothing = [](std::string_view part) { return part.empty() || part == "."; };
  out.whole = std::all_of(parts.begin() + static_cast<std::ptrdiff_t>(artifacts) + 1, parts.end(), names_nothing);
  return out;
}

Result<void> check_exists(db::Connection& c, const Place& place) {
  std::int64_t experiment = 0;
  if (!place.model_id.empty()) {
    LATHE_TRY(const auto model, tracking::find_logged_model(c, place.model_id));
    experiment = model.experiment_id;
  } else {
    LATHE_TRY(const auto run, tracking::find_run(c, place.run_id));
    experiment = run.experiment_id;
  }
  if (experiment == place.experiment) return {};
  return fail(Code::not_found,
              fmt::format("{}{} is not in the experiment {}", place.run_id, place.model_id, place.experiment));
}

Result<void> check_may_write(db::Connection& c, const http::Principal& who, const Place& place) {
  LATHE_CHECK(check_exists(c, place));
  if (!place.model_id.empty())
    LATHE_CHECK(tracking::writable_logged_model(c, who, place.model_id));
  else
    LATHE_CHECK(tracking::writable_run(c, who, place.run_id));
  return {};
}

std::optional<std::string> artifact_path(const std::string& uri) {
  auto rest = after(uri, "mlflow-artifacts:/");
  if (!rest) return std::nullopt;
  if (rest->starts_with('/')) {
    const auto slash = rest->find('/', 1);  // after the host
    rest = slash == std::string::npos ? "" : rest->substr(slash + 1);
  }
  return rest;
}

Result<Source> resolve_source(db::Connection& c, const http::Principal& who, const std::string& source,
                              const std::string& run_id) {
  LATHE_TRY(auto out, resolve(c, source));
  if (!run_id.empty()) {
    LATHE_CHECK(tracking::check_run_id(run_id));
    LATHE_CHECK(tracking::find_run(c, run_id));
    const bool copied =
        source.starts_with("models:/") && out.model_id.empty();  // of another version, whose run it names
    if (!out.run_id.empty() && out.run_id != run_id && out.model_id.empty() && !copied)
      return fail(Code::invalid, fmt::format("Invalid model version source: '{}' is of the run {}, not of {}", source,
                                             out.run_id, run_id));
    out.run_id = run_id;
  }
  if (!who.run) return out;
  if (!out.model_id.empty()) LATHE_CHECK(tracking::writable_logged_model(c, who, out.model_id));
  if (out.run_id.empty()) return fail(Code::forbidden, "a job's token registers models from its own runs only");
  LATHE_TRY(const auto run, tracking::find_run(c, out.run_id));
  LATHE_CHECK(tracking::check_may_write(who, run));
  return out;
}

}  // namespace lathe::mlflow
