#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "db/db.h"

/// MLflow's search language: `metrics.loss < 0.5 AND tags."a b" LIKE '%x' AND run_id IN ('a', 'b')`.
///
/// A filter is parsed once into comparisons; each subject turns those into SQL conditions whose values are parameters
/// only. What MLflow refuses (OR, parentheses, unquoted texts, ...) is `invalid`.
namespace lathe::tracking {

enum class Op : std::uint8_t { eq, ne, lt, le, gt, ge, like, ilike, in, not_in, is_null, is_not_null };
/// "=", "NOT IN", ...
std::string_view op_name(Op op);

struct Literal {
  enum class Kind : std::uint8_t { none, number, text, list };
  Kind kind = Kind::none;
  std::string text;  ///< of a number: as written
  double number = 0;
  std::vector<std::string> list;
};

struct Comparison {
  std::string entity;  ///< "metrics", "tag", ...; empty when the name stands alone
  std::string key;
  Op op = Op::eq;
  Literal value;
};

Result<std::vector<Comparison>> parse_filter(std::string_view filter);

struct OrderTerm {
  std::string entity;
  std::string key;
  bool ascending = true;
};

/// "metrics.`val loss` DESC"
Result<OrderTerm> parse_order(std::string_view text);

/// Gathers the conditions and parameters of a statement.
class Where {
 public:
  /// Adds a parameter and returns its name in the statement: "$3".
  std::string bind(db::Param value);
  void add(const std::string& condition);
  /// "a = $1 AND b > $2", or "TRUE".
  std::string sql() const { return sql_.empty() ? "TRUE" : sql_; }
  const std::vector<db::Param>& params() const { return params_; }

 private:
  std::string sql_;
  std::vector<db::Param> params_;
};

/// The condition that a text column meets the comparison. Errors: `invalid` — another kind of value, or an operator
/// that texts do not take: `allowed` lists those.
Result<std::string> text_condition(Where& where, const std::string& column, const Comparison& comparison,
                                   std::initializer_list<Op> allowed);
/// The same for a number column: = != < <= > >=.
Result<std::string> number_condition(Where& where, const std::string& column, const Comparison& comparison);

/// The SQL of a key-value table's row for `owner`: EXISTS (SELECT 1 FROM table x WHERE x.owner_column = owner AND x.key
/// = $n AND condition on x.value), or NOT EXISTS for IS NULL.
Result<std::string> pair_condition(Where& where, const std::string& table, const std::string& owner_column,
                                   const std::string& owner, const Comparison& comparison,
                                   std::initializer_list<Op> allowed);

/// Page tokens: opaque to clients.
std::string make_page_token(std::size_t offset);
/// Empty: 0. Errors: `invalid`.
Result<std::size_t> parse_page_token(std::string_view token);

}  // namespace lathe::tracking
