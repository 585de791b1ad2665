#include "mlflow/places.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/text.h"
#include "registry/registry.h"
#include "storage/storage.h"
#include "traces/traces.h"
#include "tracking/lineage.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

constexpr std::size_t kSourceLimit = 500;

Error bad_source(const std::string& source, std::string_view why) {
  return {Code::invalid,
          fmt::format("Invalid model version source: '{}'. {}", printable(source.substr(0, 300)), why),
          {}};
}
constexpr std::string_view kRelative =
    "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute "
    "path must be provided without relative path references present. Please provide an absolute path.";
constexpr std::string_view kLocal =
    "To use a local path as a model version source, the run_id request parameter has to be specified and the local "
    "path has to be contained within the artifact directory of the run specified by the run_id. This server keeps "
    "artifacts itself: log the model, and name it by mlflow-artifacts:/, runs:/ or models:/.";

/// The part after a "scheme:/", when the source has that scheme.
std::optional<std::string> after(const std::string& source, std::string_view scheme) {
  if (!source.starts_with(scheme)) return std::nullopt;
  return source.substr(scheme.size());
}

Result<Source> of_place(db::Connection& c, const std::string& source, const std::string& path) {
  LATHE_TRY(const auto place, parse_place(path));
  if (!place.trace_id.empty()) return fail(bad_source(source, "A trace holds no model."));
  LATHE_CHECK(check_exists(c, place));
  Source out{source, place.run_id, place.model_id};
  if (!place.model_id.empty()) {
    LATHE_TRY(const auto model, tracking::find_logged_model(c, place.model_id));
    out.run_id = model.source_run_id;
  }
  return out;
}

/// A run that is not known here may be another server's: the source stays as it was given.
Result<Source> of_run(db::Connection& c, const std::string& source, const std::string& rest) {
  const auto slash = rest.find('/');
  LATHE_CHECK(tracking::check_run_id(rest.substr(0, slash)));
  const auto run = tracking::find_run(c, rest.substr(0, slash));
  if (!run && run.error().code == Code::not_found) return Source{source, {}, {}};
  if (!run) return fail(run.error());
  const auto inner = slash == std::string::npos ? "" : rest.substr(slash);
  return Source{run->artifact_uri + inner, run->run_id, {}};
}

/// models:/m-<id>, models:/NAME/VERSION or models:/NAME@ALIAS
Result<Source> of_model(db::Connection& c, const std::string& source, const std::string& rest) {
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
  const auto digits = slash == std::string::npos ? "" : rest.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size())
    return fail(bad_source(source, "A model is named as models:/NAME/VERSION, models:/NAME@ALIAS or models:/m-ID."));
  LATHE_TRY(const auto version, registry::find_version(c, rest.substr(0, slash), number));
  return Source{version.artifact_uri, version.run_id, version.model_id};
}

/// "s3" of "s3://bucket/key"; empty where there is no scheme, as in a path, or in "C:/x".
std::string scheme_of(const std::string& source) {
  const auto colon = source.find(':');
  if (colon == std::string::npos || colon < 2) return {};
  auto scheme = to_lower(source.substr(0, colon));
  const bool plain = std::all_of(scheme.begin(), scheme.end(), [](unsigned char ch) {
    return std::isalnum(ch) != 0 || ch == '+' || ch == '-' || ch == '.';
  });
  return plain && std::isalpha(static_cast<unsigned char>(scheme[0])) != 0 ? scheme : "";
}

bool is_of_this_machine(std::string_view host) {
  return host == "." || host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[");
}

Result<Source> resolve(db::Connection& c, const std::string& source) {
  const auto scheme = scheme_of(source);
  if (scheme.empty() || scheme == "file") return fail(bad_source(source, kLocal));
  // The same suspicion for all: nothing relative, also behind percent-encodings, no queries and no fragments.
  auto rest = std::string_view(source).substr(scheme.size() + 1);
  if (source.size() > kSourceLimit || !rest.starts_with('/') || rest.find('?') != std::string_view::npos)
    return fail(bad_source(source, kRelative));
  const bool with_host = rest.starts_with("//");
  while (rest.starts_with('/')) rest.remove_prefix(1);
  const auto host = with_host ? rest.substr(0, rest.find('/')) : std::string_view{};
  if (rest.empty() || !storage::check_path(rest)) return fail(bad_source(source, kRelative));

  if (const auto path = artifact_path(source)) return of_place(c, source, *path);
  if (const auto run = after(source, "runs:/")) return of_run(c, source, *run);
  if (const auto model = after(source, "models:/")) return of_model(c, source, *model);
  if (!with_host && scheme != "dbfs") return fail(bad_source(source, kRelative));
  if (is_of_this_machine(host)) return fail(bad_source(source, kLocal));
  return Source{source, {}, {}};  // elsewhere: clients fetch it, this server never does
}

}  // namespace

Result<void> check_path(const std::string& path) {
  if (!storage::check_path(path)) return fail(Code::invalid, "Invalid path");
  return {};
}

Result<Place> parse_place(const std::string& path) {
  LATHE_CHECK(check_path(path));
  const auto parts = split(path, '/');
  const auto refuse = [&] {
    return fail(Code::invalid, fmt::format("Invalid path: '{}'. Artifacts lie at <experiment id>/<run "
                                           "id>/artifacts/..., <experiment id>/models/<model "
                                           "id>/artifacts/... or <experiment id>/traces/<trace id>/artifacts/...",
                                           printable(path.substr(0, 300))));
  };
  Place out;
  const bool nested = parts.size() >= 4 && parts[2] != "artifacts";  // a run may be called "models" or "traces"
  const bool model = nested && parts[1] == "models";
  const bool trace = nested && parts[1] == "traces";
  const std::size_t artifacts = model || trace ? 3 : 2;
  if (parts.size() <= artifacts || parts[artifacts] != "artifacts") return refuse();
  const auto experiment = tracking::parse_experiment_id(parts[0]);
  if (!experiment || !tracking::check_run_id(parts[artifacts - 1])) return refuse();
  out.experiment = *experiment;
  (model ? out.model_id : trace ? out.trace_id : out.run_id) = parts[artifacts - 1];
  const auto names_nothing = [](std::string_view part) { return part.empty() || part == "."; };
  out.whole = std::all_of(parts.begin() + static_cast<std::ptrdiff_t>(artifacts) + 1, parts.end(), names_nothing);
  return out;
}

Result<void> check_exists(db::Connection& c, const Place& place) {
  std::int64_t experiment = 0;
  if (!place.model_id.empty()) {
    LATHE_TRY(const auto model, tracking::find_logged_model(c, place.model_id));
    experiment = model.experiment_id;
  } else if (!place.trace_id.empty()) {
    LATHE_TRY(const auto trace, traces::find_trace(c, place.trace_id));
    experiment = trace.experiment_id;
  } else {
    LATHE_TRY(const auto run, tracking::find_run(c, place.run_id));
    experiment = run.experiment_id;
  }
  if (experiment == place.experiment) return {};
  return fail(Code::not_found,
              fmt::format("{}{}{} is not in the experiment {}", place.run_id, place.model_id, place.trace_id,
                          place.experiment));
}

Result<void> check_may_write(db::Connection& c, const http::Principal& who, const Place& place) {
  LATHE_CHECK(check_exists(c, place));
  if (!place.model_id.empty())
    LATHE_CHECK(tracking::writable_logged_model(c, who, place.model_id));
  else if (!place.trace_id.empty())
    LATHE_CHECK(traces::writable_trace(c, who, place.trace_id));
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
