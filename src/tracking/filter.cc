#include "tracking/filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/digest.h"
#include "base/text.h"
#include "json/json.h"

namespace lathe::tracking {
namespace {

constexpr std::string_view kOpNames[] = {"=",     "!=", "<",      "<=",      ">",           ">=", "LIKE",
                                         "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL", ""};

Error invalid(std::string message) {
  return {Code::invalid, std::move(message), {}};
}

/// What the client wrote, for an error.
std::string shown(const Literal& value) {
  const auto text = printable(value.text.substr(0, 300));
  return value.kind == Literal::Kind::text ? "'" + text + "'" : text;
}

/// A pattern in which only % and _ mean more than themselves: for LIKE ... ESCAPE '\'.
std::string pattern_of(std::string_view like) {
  std::string out;
  for (const char c : like) out.append(c == '\\' ? 2 : 1, c);
  return out;
}

}  // namespace

std::string_view op_name(Op op) {
  return kOpNames[static_cast<std::size_t>(op)];
}

std::string Where::bind(db::Param value) {
  params_.push_back(std::move(value));
  return fmt::format("${}", params_.size());
}

void Where::add(const std::string& condition) {
  if (!sql_.empty()) sql_ += " AND ";
  sql_ += condition;
}

std::string op_names(Ops ops) {
  std::string out;
  for (const auto op : ops) out += fmt::format("{}'{}'", out.empty() ? "" : ", ", op_name(op));
  return "{" + out + "}";
}

Result<void> check_op(const Comparison& comparison, Ops allowed, const std::string& refusal) {
  if (std::find(allowed.begin(), allowed.end(), comparison.op) != allowed.end()) return {};
  return fail(invalid(refusal));
}

Result<std::string> text_condition(Where& where, const std::string& column, const Comparison& comparison,
                                   std::string_view expected) {
  const auto& value = comparison.value;
  if (value.kind == Literal::Kind::word)
    return fail(
        invalid(fmt::format("Parameter value is either not quoted or unidentified quote types used for string "
                            "value {}. Use either single or double quotes.",
                            shown(value))));
  if (value.kind == Literal::Kind::number)
    return fail(invalid(fmt::format("{}. Got value {}", expected, shown(value))));
  switch (comparison.op) {
    case Op::like:
      return fmt::format("{} LIKE {} ESCAPE '\\'", column, where.bind(pattern_of(value.text)));
    case Op::ilike:
      return fmt::format("LOWER({}) LIKE {} ESCAPE '\\'", column, where.bind(pattern_of(to_lower(value.text))));
    case Op::in:
    case Op::not_in: {
      std::string list;
      for (const auto& item : value.list) list += (list.empty() ? "" : ", ") + where.bind(item);
      return fmt::format("{} {} ({})", column, op_name(comparison.op), list);
    }
    default:
      return fmt::format("{} {} {}", column, op_name(comparison.op), where.bind(value.text));
  }
}

Result<std::string> number_condition(Where& where, const std::string& column, const Comparison& comparison,
                                     const std::string& expected) {
  if (comparison.value.kind != Literal::Kind::number)
    return fail(invalid(fmt::format("{}. Found {}", expected, shown(comparison.value))));
  return fmt::format("{} {} {}", column, op_name(comparison.op), where.bind(comparison.value.number));
}

Result<std::string> whole_number_condition(Where& where, const std::string& column, const Comparison& comparison,
                                           const std::string& expected) {
  if (comparison.value.kind != Literal::Kind::number)
    return fail(invalid(fmt::format("{}. Found {}", expected, shown(comparison.value))));
  const auto number = comparison.value.number;
  const auto floor = std::floor(number);
  auto op = comparison.op;
  if (floor < -0x1p63 || floor >= 0x1p63) {  // beyond what the column can hold
    const bool holds = op == Op::ne || (number > 0 ? op == Op::lt || op == Op::le : op == Op::gt || op == Op::ge);
    return holds ? column + " IS NOT NULL" : "FALSE";
  }
  if (floor != number) {
    if (op == Op::eq) return "FALSE";
    if (op == Op::ne) return column + " IS NOT NULL";
    op = op == Op::lt || op == Op::le ? Op::le : Op::gt;
  }
  return fmt::format("{} {} {}", column, op_name(op), where.bind(static_cast<std::int64_t>(floor)));
}

std::string exists(std::string_view rows) {
  return fmt::format("(EXISTS (SELECT 1 {})) IS TRUE", rows);
}
std::string exists_not(std::string_view rows) {
  return fmt::format("(EXISTS (SELECT 1 {})) IS FALSE", rows);
}

Result<std::string> pair_condition(Where& where, const std::string& rows, const Comparison& comparison,
                                   std::string_view what) {
  const auto row = fmt::format("{} AND x.key = {}", rows, where.bind(comparison.key));
  if (comparison.op == Op::is_null) return exists_not(row);
  if (comparison.op == Op::is_not_null) return exists(row);
  const auto expected = fmt::format("Expected a quoted string value for {} (e.g. 'my-value')", what);
  LATHE_TRY(const auto condition, text_condition(where, "x.value", comparison, expected));
  return exists(fmt::format("{} AND {}", row, condition));
}

std::string make_page_token(std::size_t offset) {
  return base64_encode(fmt::format("{{\"offset\": {}}}", offset));
}

Result<std::size_t> parse_page_token(std::string_view token) {
  if (token.empty()) return std::size_t{0};
  const auto decoded = base64_decode(token);
  if (!decoded) return fail(invalid("Invalid page token, could not base64-decode"));
  const auto object = json::parse_object(*decoded);
  if (!object)
    return fail(invalid(fmt::format("Invalid page token, decoded value={}", printable(decoded->substr(0, 100)))));
  constexpr std::int64_t kMostOffset = std::int64_t{1}
                                       << 53;  // more rows than a store holds: only a token made up says so
  const auto offset = json::get_int(*object, "offset");
  if (!offset || !*offset || **offset < 1 || **offset > kMostOffset)
    return fail(invalid(fmt::format("Invalid page token, parsed value={}", json::print(*object).substr(0, 100))));
  return static_cast<std::size_t>(**offset);
}

Result<void> check_page_size(std::size_t size, std::size_t most) {
  if (size >= 1 && size <= most) return {};
  const auto rule = size == 0 ? std::string("a positive integer") : fmt::format("at most {}", most);
  return fail(invalid(fmt::format("Invalid value {} for parameter 'max_results' supplied. It must be {}", size, rule)));
}

}  // namespace lathe::tracking
