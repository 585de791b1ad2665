#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "json/json.h"

namespace lathe::cli {

/// A JMESPath expression (jmespath.org), the whole language.
class JmesPath {
 public:
  /// Errors: `invalid`, with the position: `--query, column 7: expected ...`.
  static Result<JmesPath> compile(std::string_view text);
  ~JmesPath();
  JmesPath(JmesPath&&) noexcept;
  JmesPath& operator=(JmesPath&&) noexcept;

  /// Errors: `invalid` — a function got a value of the wrong type.
  Result<json::Value> apply(const json::Value& document) const;

  struct Node;

 private:
  explicit JmesPath(std::unique_ptr<Node> root);
  std::unique_ptr<Node> root_;
};

}  // namespace lathe::cli
