#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "db/db.h"
#include "http/principal.h"

/// Where artifacts lie, and what an artifact URI may name.
namespace lathe::mlflow {

/// A path below the artifact root: `<experiment>/<run>/artifacts[/...]`, `<experiment>/models/<model>/artifacts[/...]` or
/// `<experiment>/traces/<trace>/artifacts[/...]`.
struct Place {
  std::int64_t experiment = 0;
  std::string run_id;    ///< or
  std::string model_id;  ///< this one, or
  std::string trace_id;  ///< this one
  bool whole = false;    ///< the folder `artifacts` itself
};

/// That a path below an artifact root leads nowhere else, by `storage::check_path`. Errors: `invalid`, with MLflow's
/// two words and no more: its clients compare the whole text.
Result<void> check_path(const std::string& path);

/// Errors: `invalid` — not such a path, or one that no honest client sends.
Result<Place> parse_place(const std::string& path);

/// That the run, logged model or trace exists, in that experiment. Errors: `not_found`.
Result<void> check_exists(db::Connection& c, const Place& place);
/// And that `who` may write it. Errors: also `forbidden`, and `invalid` for a deleted run.
Result<void> check_may_write(db::Connection& c, const http::Principal& who, const Place& place);

/// The path of `mlflow-artifacts:/PATH` or `mlflow-artifacts://HOST/PATH`; nullopt for another scheme.
std::optional<std::string> artifact_path(const std::string& uri);

/// Where a model version's files are.
struct Source {
  std::string artifact_uri;  ///< resolved
  std::string run_id;        ///< whose they are; empty: nobody's
  std::string model_id;
};

/// Checks the source that a client names for a model version: mlflow-artifacts:/, runs:/, models:/, or a place elsewhere
/// (s3://, dbfs:/, https://, ...), and nothing on this machine's own disk. A run that is not known here stays a name. A
/// job's token may name only what its own runs made. Errors: `invalid`, `not_found`, `forbidden`.
Result<Source> resolve_source(db::Connection& c, const http::Principal& who, const std::string& source,
                              const std::string& run_id);

}  // namespace lathe::mlflow
