#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "db/db.h"

/// MLflow's search language: `metrics.loss < 0.5 AND tags."a b" LIKE '%x' AND run_id IN ('a', 'b')`.
///
/// A filter is parsed once into comparisons; each subject looks up what its names stand for and turns them into SQL
/// conditions with the functions below, whose values are parameters only. What MLflow refuses (OR, parentheses,
/// unquoted texts, ...) is `invalid`, with MLflow's words.
namespace lathe::tracking {

/// `other`: what MLflow reads as an operator, and no subject takes: `==`, `~`, `RLIKE`, `NOT LIKE`, ...
enum class Op : std::uint8_t { eq, ne, lt, le, gt, ge, like, ilike, in, not_in, is_null, is_not_null, other };
/// "=", "NOT IN", ...
std::string_view op_name(Op op);
using Ops = std::initializer_list<Op>;

constexpr Ops kNumberOps = {Op::gt, Op::ge, Op::ne, Op::eq, Op::lt, Op::le};
constexpr Ops kTextOps = {Op::ne, Op::eq, Op::like, Op::ilike};
constexpr Ops kTextOrListOps = {Op::ne, Op::eq, Op::like, Op::ilike, Op::in, Op::not_in};
constexpr Ops kTextOrNullOps = {Op::ne, Op::eq, Op::like, Op::ilike, Op::is_null, Op::is_not_null};

struct Literal {
  enum class Kind : std::uint8_t { none, number, text, list, word };
  Kind kind = Kind::none;
  std::string text;  ///< of a text: without its quotes; of the others: as written
  double number = 0;
  std::vector<std::string> list;
};

struct Comparison {
  std::string entity;  ///< "metrics", "tag", ...; empty when the name stands alone
  std::string key;
  Op op = Op::eq;
  std::string op_text;  ///< in capitals: "NOT IN"
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
Result<std::vector<OrderTerm>> parse_orders(const std::vector<std::string>& texts);
/// For an order that names a field twice.
Error repeated_order(const std::vector<std::string>& texts);

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

/// "{'!=', '=', 'LIKE'}": how MLflow lists what it takes.
std::string op_names(Ops ops);
/// Errors: `invalid` with `refusal` — another operator than these.
Result<void> check_op(const Comparison& comparison, Ops allowed, const std::string& refusal);

/// The condition that a text column meets the comparison, whose operator was checked. Errors: `invalid` — the value is
/// not a quoted text (or list): "`expected`. Got value 5".
Result<std::string> text_condition(Where& where, const std::string& column, const Comparison& comparison,
                                   std::string_view expected);
/// The same for a column of real numbers: "`expected`. Found 'x'".
Result<std::string> number_condition(Where& where, const std::string& column, const Comparison& comparison,
                                     const std::string& expected);

/// The same for a column of whole numbers, which is compared exactly: `version > 1.5`, `start_time < 1e300`.
Result<std::string> whole_number_condition(Where& where, const std::string& column, const Comparison& comparison,
                                           const std::string& expected);

/// That there is such a row, or that there is none: `rows` is "FROM table x WHERE x.owner = o.id AND ...". Looked for
/// by its key for each o: of many plain EXISTS, PostgreSQL makes joins, and thinks for seconds about their order.
std::string exists(std::string_view rows);
std::string exists_not(std::string_view rows);

/// The condition on rows of a table of keys and values, named x: `rows` is "FROM table x WHERE x.owner = o.id".
/// That one with the comparison's key has such a value; for IS NULL, that there is none.
Result<std::string> pair_condition(Where& where, const std::string& rows, const Comparison& comparison,
                                   std::string_view what);

/// "-1.5e3"; nullopt for what is no number.
std::optional<double> parse_number(std::string_view text);

/// Page tokens: opaque to clients.
std::string make_page_token(std::size_t offset);
/// Empty: 0. Errors: `invalid`.
Result<std::size_t> parse_page_token(std::string_view token);
/// "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer", and for more than `most`.
Result<void> check_page_size(std::size_t size, std::size_t most);

}  // namespace lathe::tracking
