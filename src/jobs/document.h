#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "jobs/distribution.h"
#include "json/json.h"
#include "json/report.h"

namespace lathe::jobs {

/// An input: a literal value, or files by reference.
struct Input {
  std::string name;
  std::optional<std::string> literal;
  std::string type;       ///< uri_file, uri_folder, mltable, mlflow_model, custom_model; empty for a literal
  json::Value reference;  ///< as sent: a text (path, azureml:..., URL) or {"tree": ...} or {"blob": ...}
};

struct Output {
  std::string name;
  std::string type = "uri_folder";
  std::optional<std::string> asset_name;  ///< register it as data under this name when the job has succeeded
  std::optional<std::string> asset_version;
};

/// What a command-job document asks for.
struct Asked {
  std::string name;
  std::string display_name;
  std::string experiment_name = "Default";
  std::string description;
  std::map<std::string, std::string> tags;
  std::string command;
  json::Value code;  ///< null, a path, or {"tree": digest}
  json::Value environment;
  std::map<std::string, std::string> environment_variables;
  std::string compute = "local";
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::int64_t timeout_s = 0;  ///< 0: none
  Distribution distribution;
  std::string job_tier = "standard";  ///< spot, basic, standard, premium
  std::string priority = "medium";    ///< low, medium, high
  std::string parent;          ///< the run of which this is a child, or empty
};

/// Reads an Azure command-job document. Every field is honoured, or stands in `report`.
/// Errors: `invalid`, beginning with the field's path.
Result<Asked> read_document(const json::Object& document, json::Report& report);

}  // namespace lathe::jobs
