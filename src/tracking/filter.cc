#include "tracking/filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/digest.h"
#include "base/text.h"
#include "json/json.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostComparisons = 100;
constexpr std::size_t kFilterLimit = 32 * 1024;

struct Token {
  enum class Kind : std::uint8_t { end, name, number, text, comparator, comma, open, close };
  Kind kind = Kind::end;
  std::string text;    ///< of a name: its last part; of a text: without its quotes
  std::string entity;  ///< of a name: what stands before the first dot
  char quote = 0;      ///< of a text or a name that is one quoted word
};

bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool is_quote(char c) {
  return c == '\'' || c == '"' || c == '`';
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<Token> next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    if (at_ == text_.size()) return Token{};
    const char c = text_[at_];
    if (c == ',') return symbol(Token::Kind::comma);
    if (c == '(') return symbol(Token::Kind::open);
    if (c == ')') return symbol(Token::Kind::close);
    if (c == '=' || c == '<' || c == '>' || c == '!') return comparator();
    if (is_quote(c)) return quoted_word();
    if (is_name_start(c)) return name();
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '+' || c == '.') return number();
    return unexpected();
  }

 private:
  tl::unexpected<Error> unexpected() const {
    return fail(Code::invalid,
                fmt::format("Invalid clause(s) in filter string: '{}'", printable(text_.substr(at_, 60))));
  }

  Token symbol(Token::Kind kind) { return {kind, std::string(1, text_[at_++]), {}, 0}; }

  Result<Token> comparator() {
    for (const std::string_view known : {"!=", "<=", ">=", "=", "<", ">"}) {
      if (!text_.substr(at_).starts_with(known)) continue;
      at_ += known.size();
      return Token{Token::Kind::comparator, std::string(known), {}, 0};
    }
    return unexpected();
  }

  Result<std::string> quoted() {
    const char quote = text_[at_];
    std::string out;
    for (auto i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] != quote) {
        out.push_back(text_[i]);
      } else if (i + 1 < text_.size() && text_[i + 1] == quote) {
        out.push_back(text_[i++]);
      } else {
        at_ = i + 1;
        return out;
      }
    }
    return unexpected();
  }

  /// A text; or a quoted name: `metrics`.x, "run name".
  Result<Token> quoted_word() {
    const char quote = text_[at_];
    LATHE_TRY(auto word, quoted());
    if (quote != '\'' && at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      return rest_of_name(std::move(word));
    }
    return Token{Token::Kind::text, std::move(word), {}, quote};
  }

  std::string plain_word() {
    const auto begin = at_;
    while (at_ < text_.size() && (is_name(text_[at_]) || text_[at_] == '.')) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<Token> name() {
    const auto begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    std::string word(text_.substr(begin, at_ - begin));
    if (at_ == text_.size() || text_[at_] != '.') return Token{Token::Kind::name, std::move(word), {}, 0};
    ++at_;
    return rest_of_name(std::move(word));
  }

  /// What follows `entity.`: a quoted key, or words with dots.
  Result<Token> rest_of_name(std::string entity) {
    if (at_ == text_.size()) return unexpected();
    Token out{Token::Kind::name, {}, std::move(entity), 0};
    if (text_[at_] == '`' || text_[at_] == '"') {
      LATHE_TRY(out.text, quoted());
    } else {
      out.text = plain_word();
    }
    if (out.text.empty()) return unexpected();
    return out;
  }

  Result<Token> number() {
    const auto begin = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool sign = (c == '-' || c == '+') && (at_ == begin || text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E');
      if (!sign && std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.') break;
      ++at_;
    }
    return Token{Token::Kind::number, std::string(text_.substr(begin, at_ - begin)), {}, 0};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool is_word(const Token& token, std::string_view word) {
  return token.kind == Token::Kind::name && token.entity.empty() && to_lower(token.text) == word;
}

Error bad_clause(const Token& token) {
  return {Code::invalid,
          fmt::format("Invalid clause(s) in filter string: '{}'", token.kind == Token::Kind::end ? "" : token.text),
          {}};
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  Result<std::vector<Comparison>> filter() {
    std::vector<Comparison> out;
    LATHE_CHECK(advance());
    if (now_.kind == Token::Kind::end) return out;
    for (;;) {
      LATHE_TRY(auto one, comparison());
      out.push_back(std::move(one));
      if (now_.kind == Token::Kind::end) return out;
      if (out.size() == kMostComparisons)
        return fail(Code::invalid, fmt::format("a filter may hold at most {} comparisons", kMostComparisons));
      if (!is_word(now_, "and")) return fail(bad_clause(now_));
      LATHE_CHECK(advance());
    }
  }

  Result<OrderTerm> order() {
    LATHE_CHECK(advance());
    OrderTerm out;
    LATHE_TRY(std::tie(out.entity, out.key), identifier());
    if (is_word(now_, "asc") || is_word(now_, "desc")) {
      out.ascending = is_word(now_, "asc");
      LATHE_CHECK(advance());
    }
    if (now_.kind != Token::Kind::end) return fail(bad_clause(now_));
    return out;
  }

 private:
  Result<void> advance() {
    LATHE_TRY(now_, lexer_.next());
    return {};
  }

  Result<std::pair<std::string, std::string>> identifier() {
    const bool quoted_name = now_.kind == Token::Kind::text && now_.quote != '\'';
    if (now_.kind != Token::Kind::name && !quoted_name)
      return fail(Code::invalid, fmt::format("Invalid comparison clause. Expected 'Identifier' found '{}'", now_.text));
    std::pair out{std::move(now_.entity), std::move(now_.text)};
    LATHE_CHECK(advance());
    return out;
  }

  Result<Op> op() {
    static constexpr std::pair<std::string_view, Op> kSymbols[] = {{"=", Op::eq},  {"!=", Op::ne}, {"<", Op::lt},
                                                                   {"<=", Op::le}, {">", Op::gt},  {">=", Op::ge}};
    const Token token = now_;
    LATHE_CHECK(advance());
    if (token.kind == Token::Kind::comparator)
      for (const auto& [symbol, value] : kSymbols)
        if (symbol == token.text) return value;
    if (is_word(token, "like")) return Op::like;
    if (is_word(token, "ilike")) return Op::ilike;
    if (is_word(token, "in")) return Op::in;
    const bool negated = is_word(token, "not");
    if (negated && is_word(now_, "in")) {
      LATHE_CHECK(advance());
      return Op::not_in;
    }
    if (!is_word(token, "is")) return fail(bad_clause(token));
    const bool not_null = is_word(now_, "not");
    if (not_null) LATHE_CHECK(advance());
    if (!is_word(now_, "null")) return fail(bad_clause(now_));
    LATHE_CHECK(advance());
    return not_null ? Op::is_not_null : Op::is_null;
  }

  Result<Literal> literal() {
    Literal out;
    out.text = now_.text;
    if (now_.kind == Token::Kind::number) {
      out.kind = Literal::Kind::number;
      const std::string_view digits = std::string_view(out.text).substr(out.text.starts_with('+') ? 1 : 0);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.number);
      if (error != std::errc{} || end != digits.data() + digits.size()) return fail(bad_clause(now_));
    } else if (now_.kind == Token::Kind::text && now_.quote != '`') {
      out.kind = Literal::Kind::text;
    } else if (now_.kind == Token::Kind::open) {
      return list();
    } else {
      return fail(
          Code::invalid,
          fmt::format("Parameter value is either not quoted or unidentified quote types used for string value {}. "
                      "Use either single or double quotes.",
                      now_.text));
    }
    LATHE_CHECK(advance());
    return out;
  }

  Result<Literal> list() {
    Literal out;
    out.kind = Literal::Kind::list;
    for (;;) {
      LATHE_CHECK(advance());
      const bool trailing = now_.kind == Token::Kind::close && !out.list.empty();  // ('a',) is a list too
      if (!trailing) {
        if (now_.kind != Token::Kind::text || now_.quote == '`')
          return fail(Code::invalid,
                      "While parsing a list in the query, expected a non-empty list of string values, but got "
                      "ill-formed list.");
        out.list.push_back(now_.text);
        LATHE_CHECK(advance());
      }
      if (now_.kind == Token::Kind::close) {
        LATHE_CHECK(advance());
        return out;
      }
      if (now_.kind != Token::Kind::comma)
        return fail(
            Code::invalid,
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.");
    }
  }

  Result<Comparison> comparison() {
    Comparison out;
    LATHE_TRY(std::tie(out.entity, out.key), identifier());
    LATHE_TRY(out.op, op());
    if (out.op == Op::is_null || out.op == Op::is_not_null) return out;
    LATHE_TRY(out.value, literal());
    const bool takes_list = out.op == Op::in || out.op == Op::not_in;
    if (takes_list != (out.value.kind == Literal::Kind::list))
      return fail(Code::invalid, fmt::format("Invalid comparison clause: {} {} a list", op_name(out.op),
                                             takes_list ? "takes" : "does not take"));
    return out;
  }

  Lexer lexer_;
  Token now_;
};

/// SQLite's LIKE does not tell capital letters apart; its GLOB does.
std::string glob_of(std::string_view like) {
  std::string out;
  for (const char c : like) {
    if (c == '%')
      out += '*';
    else if (c == '_')
      out += '?';
    else if (c == '*' || c == '?' || c == '[')
      out.append("[").append(1, c).append("]");
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string_view op_name(Op op) {
  static constexpr std::string_view kNames[] = {
      "=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"};
  return kNames[static_cast<std::size_t>(op)];
}

Result<std::vector<Comparison>> parse_filter(std::string_view filter) {
  if (filter.size() > kFilterLimit)
    return fail(Code::invalid, fmt::format("a filter may hold at most {} bytes", kFilterLimit));
  return Parser(filter).filter();
}

Result<OrderTerm> parse_order(std::string_view text) {
  auto parsed = Parser(text).order();
  if (!parsed)
    return fail(Code::invalid,
                fmt::format("Invalid order_by clause '{}'. Could not be parsed.", printable(text.substr(0, 300))));
  return parsed;
}

std::string Where::bind(db::Param value) {
  params_.push_back(std::move(value));
  return fmt::format("${}", params_.size());
}

void Where::add(const std::string& condition) {
  if (!sql_.empty()) sql_ += " AND ";
  sql_ += condition;
}

Result<std::string> text_condition(Where& where, const std::string& column, const Comparison& comparison,
                                   std::initializer_list<Op> allowed) {
  const auto op = comparison.op;
  if (std::find(allowed.begin(), allowed.end(), op) == allowed.end())
    return fail(Code::invalid, fmt::format("Invalid comparator '{}' for '{}'", op_name(op), comparison.key));
  if (comparison.value.kind == Literal::Kind::number)
    return fail(Code::invalid,
                fmt::format("Expected a quoted string value for {} (e.g. 'my-value'). Got value {}",
                            comparison.entity.empty() ? "attributes" : comparison.entity, comparison.value.text));
  switch (op) {
    case Op::like:
      return fmt::format("{} GLOB {}", column, where.bind(glob_of(comparison.value.text)));
    case Op::ilike:
      return fmt::format("LOWER({}) LIKE LOWER({})", column, where.bind(comparison.value.text));
    case Op::in:
    case Op::not_in: {
      std::string list;
      for (const auto& item : comparison.value.list) list += (list.empty() ? "" : ", ") + where.bind(item);
      return fmt::format("{} {} ({})", column, op_name(op), list);
    }
    case Op::is_null:
    case Op::is_not_null:
      return fmt::format("{} {}", column, op_name(op));
    default:
      return fmt::format("{} {} {}", column, op_name(op), where.bind(comparison.value.text));
  }
}

Result<std::string> number_condition(Where& where, const std::string& column, const Comparison& comparison) {
  if (comparison.op > Op::ge)
    return fail(Code::invalid, fmt::format("Invalid comparator '{}' for '{}', which is a number",
                                           op_name(comparison.op), comparison.key));
  if (comparison.value.kind != Literal::Kind::number)
    return fail(Code::invalid,
                fmt::format("Expected numeric value type for {}. Found {}",
                            comparison.entity.starts_with("metric") ? "metric" : "numeric attribute: " + comparison.key,
                            comparison.value.text));
  return fmt::format("{} {} {}", column, op_name(comparison.op), where.bind(comparison.value.number));
}

Result<std::string> pair_condition(Where& where, const std::string& table, const std::string& owner_column,
                                   const std::string& owner, const Comparison& comparison,
                                   std::initializer_list<Op> allowed) {
  const auto row = fmt::format("SELECT 1 FROM {0} x WHERE x.{1} = {2} AND x.key = {3}", table, owner_column, owner,
                               where.bind(comparison.key));
  if (comparison.op == Op::is_null) return fmt::format("NOT EXISTS ({})", row);
  if (comparison.op == Op::is_not_null) return fmt::format("EXISTS ({})", row);
  LATHE_TRY(const auto condition, text_condition(where, "x.value", comparison, allowed));
  return fmt::format("EXISTS ({} AND {})", row, condition);
}

std::string make_page_token(std::size_t offset) {
  return base64_encode(fmt::format("{{\"offset\": {}}}", offset));
}

Result<std::size_t> parse_page_token(std::string_view token) {
  if (token.empty()) return std::size_t{0};
  const auto decoded = base64_decode(token);
  const auto object = decoded ? json::parse_object(*decoded) : fail(Code::invalid, "");
  const auto offset = object ? json::get_int(*object, "offset") : fail(Code::invalid, "");
  if (!offset || !*offset || **offset < 0)
    return fail(Code::invalid, fmt::format("Invalid page token: '{}'", printable(token.substr(0, 100))));
  return static_cast<std::size_t>(**offset);
}

}  // namespace lathe::tracking
