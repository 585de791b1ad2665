#pragma once

#include <filesystem>
#include <string>

#include "cli/arguments.h"
#include "json/yaml.h"

namespace lathe::cli {

/// What is sent to the server: a file, with what flags and --set say put over it.
struct Document {
  json::YamlDocument yaml;
  std::string file;              ///< as given; empty: no file
  std::filesystem::path folder;  ///< that relative paths in the file are meant from

  json::Object& fields() { return yaml.value.get_object(); }
  const json::Object& fields() const { return yaml.value.get_object(); }

  /// "job.yml:12: limits.timeout: must be ..." for a message that begins with the path of a field of the file.
  std::string located(const std::string& message) const;
};

/// The document of a verb: -f (or "-" for standard input), then -n and -v, then flags that stand for fields, then
/// --set. Errors: `invalid`, with file, line and column; `not_found` — no such file.
Result<Document> build_document(const Verb& verb, const Arguments& arguments);

}  // namespace lathe::cli
