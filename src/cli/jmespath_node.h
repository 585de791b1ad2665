#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/jmespath.h"

/// Within jmespath*.cc only: the parsed expression and its evaluation.
namespace lathe::cli {

enum class JmesKind {
  identity,           ///< @
  field,              ///< text
  literal,            ///< value
  index,              ///< number
  slice,              ///< slice
  sequence,           ///< children[0], then children[1] on what it gives: a.b, a[0], a | b
  list_projection,    ///< children[1] on each item of children[0]
  object_projection,  ///< children[1] on each value of children[0]
  filter_projection,  ///< children[1] on each item of children[0] for which children[2] is true
  flatten,            ///< children[0]
  comparison,         ///< text is the operator
  both,
  either,
  negation,
  list,      ///< [a, b]
  object,    ///< {names[i]: children[i]}
  function,  ///< text is the name
  reference  ///< &children[0]
};

struct JmesPath::Node {
  JmesKind kind = JmesKind::identity;
  std::size_t column = 1;
  std::string text = {};
  json::Value value = nullptr;
  std::int64_t number = 0;
  std::optional<std::int64_t> slice[3] = {};
  std::vector<std::string> names = {};
  std::vector<std::unique_ptr<Node>> children = {};
};

inline tl::unexpected<Error> jmes_fail(std::size_t column, const std::string& message) {
  return fail(Code::invalid, fmt::format("--query, column {}: {}", column, message));
}

Result<json::Value> jmes_evaluate(const JmesPath::Node& node, const json::Value& value);
Result<json::Value> jmes_call(const JmesPath::Node& call, const json::Value& value);
/// Whether a function of this name exists; the names near it otherwise.
Result<void> jmes_check_function(const JmesPath::Node& call);

/// null, false, "", [] and {} are false, everything else is true.
bool jmes_truth(const json::Value& value);
/// Equal by value: 1 is 1.0, an object is equal whatever the order of its keys.
bool jmes_equal(const json::Value& a, const json::Value& b);
/// Of a number; nullopt for anything else.
std::optional<double> jmes_number(const json::Value& value);

}  // namespace lathe::cli
