#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/time.h"
#include "db/db.h"
#include "http/principal.h"

/// Deletion for good: of runs, experiments, logged models and model versions, with all rows and artifacts.
///
/// What is to go is marked first, in one small transaction, and is shown to nobody from then on. A Remover then removes
/// it in the background, piece by piece; the mark goes last, so that a crash is taken up where it was.
namespace lathe::removal {

/// What a mark says.
struct Removal {
  std::string kind;  ///< run, experiment, logged_model, artifacts
  std::string id;    ///< the run's or model's id, the experiment's number, a path below the artifacts
  std::string name;  ///< for people
  std::string asked_by;
  std::int64_t asked_us = 0;
};

/// Oldest first.
Result<std::vector<Removal>> removals(db::Connection& c);

// Each marks one thing. Errors of all: `not_found`; `forbidden` — neither an administrator nor the one who made it;
// `conflict` — registered model versions need its files (they are named), or a job of it has not ended.

/// With its points, parameters, tags, inputs, the models that it logged, its job and the artifacts of all.
Result<Removal> mark_run(db::Connection& c, const std::string& run_id, const http::Principal& who, Time now);
/// With its runs and logged models. Its name is free at once. Errors: `forbidden` also where others made runs in it;
/// `invalid` — the experiment "Default", which stays.
Result<Removal> mark_experiment(db::Connection& c, std::int64_t id, const http::Principal& who, Time now);
Result<Removal> mark_logged_model(db::Connection& c, const std::string& model_id, const http::Principal& who, Time now);

/// Deletes a version from the registry; with `permanently` its files too, where nothing else needs them: those that
/// Lathe keeps for this version alone. Errors: also `conflict` — a deployment serves it.
Result<void> delete_version(db::Connection& c, const std::string& model, std::int64_t version, bool permanently,
                            const http::Principal& who, Time now);
/// The model with all its versions.
Result<void> delete_model(db::Connection& c, const std::string& model, bool permanently, const http::Principal& who,
                          Time now);

/// What a pass over the deleted would mark: deleted before `before`.
struct Expired {
  std::vector<std::int64_t> experiments;
  std::vector<std::string> runs;
  std::vector<std::string> logged_models;
};
Result<Expired> expired(db::Connection& c, Time before);

// --- the rows, a piece at a time: true when nothing is left. A piece ends when `enough` says so, and removes
// something in any case. ---

using Enough = std::function<bool()>;
Result<bool> clear_run(db::Connection& c, const std::string& run_id, const Enough& enough);
Result<bool> clear_logged_model(db::Connection& c, const std::string& model_id, const Enough& enough);
/// Once its runs and logged models are gone.
Result<bool> clear_experiment(db::Connection& c, std::int64_t id, const Enough& enough);
/// Hides some of an experiment's runs and logged models.
Result<bool> hide_contents(db::Connection& c, std::int64_t id, const Enough& enough);
Result<void> forget(db::Connection& c, const Removal& removal);

/// While it is held nothing is removed from `data`, by no process: for a backup, which must find what its rows name.
/// Waits for the piece that is being removed. Errors: as for making a file.
Result<Fd> pause_removals(const std::filesystem::path& data);

}  // namespace lathe::removal
