#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "json/json.h"

/// YAML in: the files people write, as JSON documents.
namespace lathe::json {

struct Position {
  std::size_t line = 0;  ///< from 1
  std::size_t column = 0;
};

struct YamlDocument {
  Value value;
  /// Where each field starts, by its path: "inputs.data.path", "jobs[2].name". Fields that came through an alias or a
  /// merge key stand where their anchor is.
  std::map<std::string, Position, std::less<>> positions;

  /// Of the field or of the nearest field around it; nullptr when `path` names nothing here.
  const Position* find(std::string_view path) const;
};

/// Parses one document (JSON is YAML too). Plain scalars mean what PyYAML and YAML 1.2's core schema agree on, and
/// yes/no/on/off are booleans; quoted ones and `!!str` stay text, and so do dates, numbers with leading zeros and other
/// things that only some parsers take for numbers. Anchors, aliases and merge keys (`<<`) are expanded.
///
/// Errors: `invalid`, as `NAME:LINE:COLUMN: what was expected`: syntax, duplicate keys, keys that are not scalars, a
/// second document, more than 64 levels or 100,000 values. `exhausted` for more than 4 MiB.
Result<YamlDocument> parse_yaml(std::string_view text, const std::string& name);

/// The value of one plain scalar: `3` is a number, `true` a boolean, `null` or nothing null, anything else text.
Value plain_scalar(std::string_view text);

/// Block-style YAML that reads back as `value`.
std::string to_yaml(const Value& value);

}  // namespace lathe::json
