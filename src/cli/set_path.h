#pragma once

#include <string>
#include <string_view>

#include "json/json.h"

namespace lathe::cli {

/// Sets the field at `path` ("limits.timeout", "jobs[0].name", "jobs.0.name"; a dot within a key is written "\."). What
/// is missing on the way is made; a list takes an index that it has, or its length to append.
/// Errors: `invalid` — a broken path, an index out of range, a way through a text or a number.
Result<void> set_field(json::Value& document, std::string_view path, json::Value value);

/// Applies "a.b=c", where the value is typed as in YAML: 3 is a number, "3" in quotes text, {a: 1} and [1, 2]
/// structures.
Result<void> set_expression(json::Value& document, std::string_view expression);

/// The value of one flag or --set, typed as in YAML.
Result<json::Value> typed_value(std::string_view text);

/// The field at a path such as "creation_context.created_at"; nullptr when there is none.
const json::Value* find_field(const json::Value& document, std::string_view path);

}  // namespace lathe::cli
