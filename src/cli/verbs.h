#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::cli {

class Session;

/// Where a flag's value goes.
enum class Goes {
  field,  ///< into the document, at `target`
  query,  ///< into the query string, as `target`
  verb,   ///< to the verb's own code, which asks for it by the flag's name
};

/// How a flag's value is read.
enum class Takes {
  text,
  scalar,  ///< typed as in YAML: 3, true, text
  none,    ///< nothing: being there means true
  map,     ///< one or more of "key=value"
  list,    ///< one or more texts
  path,    ///< a file or folder, relative to the working folder
};

struct Flag {
  std::string_view name;    ///< "--min-instances"
  std::string_view letter;  ///< "-e", or empty
  Takes takes = Takes::text;
  Goes goes = Goes::verb;
  std::string_view target;  ///< of field and query: "limits.timeout"
  std::string_view doc;
};

struct Example {
  std::string_view command;  ///< without "lathe "
  std::string_view meaning;
};

/// What a verb does: prints its result through the session and returns the exit code.
using Handler = Result<int> (*)(Session& session);

struct Verb {
  std::string_view name;
  std::string_view summary;
  Handler run = nullptr;
  std::string_view method;
  std::string_view path;  ///< "/api/v1/compute/{name}"; the parts come from flags, else from the document
  std::vector<Flag> flags;
  std::vector<Example> examples;
  std::string_view positional = "--name";  ///< the flag that a value without a flag stands for
};

struct Column {
  std::string_view title;
  std::string_view path;  ///< "creation_context.created_at"
};

struct Group {
  std::string_view name;
  std::string_view noun;  ///< "compute target": for messages
  std::string_view summary;
  std::vector<Column> columns;  ///< of `list -o table`
  std::vector<Verb> verbs;
};

const std::vector<Group>& groups();

/// Flags that every verb takes.
const std::vector<Flag>& common_flags();

/// Flags of `az` that mean nothing here: accepted, and reported as ignored.
const std::vector<Flag>& ignored_flags();

}  // namespace lathe::cli
