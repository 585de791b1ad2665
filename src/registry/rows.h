#pragma once

#include "registry/registry.h"

/// How rows of models and versions are read: shared by the files of this folder.
namespace lathe::registry {

/// Prompts are kept as registered models with this tag: MLflow 3's clients ask for them, or for all but them.
constexpr std::string_view kIsPrompt = "mlflow.prompt.is_prompt";

/// The columns that `read_model` reads, of a table that the statement calls m.
#define LATHE_MODEL_COLUMNS "m.name, m.description, m.created_by, m.created_us, m.updated_us"
Model read_model(const db::Row& row);

/// The columns that `read_version` reads, of a table that the statement calls v.
#define LATHE_VERSION_COLUMNS                                                                                          \
  "v.model, v.version, v.source, v.artifact_uri, v.run_id, v.run_link, v.model_id, v.status, v.stage, v.description, " \
  "v.archived, v.created_by, v.created_us, v.updated_us"
Version read_version(const db::Row& row);

/// Errors: `invalid` — a bad key, or a value that is too long.
Result<void> check_tag(const Tag& tag);

/// Fill in tags and aliases.
Result<void> load_details(db::Connection& c, Model& model);
Result<void> load_details(db::Connection& c, Version& version);

}  // namespace lathe::registry
