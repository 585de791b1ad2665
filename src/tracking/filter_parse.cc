// The search language as MLflow reads it with sqlparse: tokens first, then comparisons. Nothing here knows what a name
// stands for.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/text.h"
#include "tracking/filter.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostComparisons = 100;
constexpr std::size_t kFilterLimit = 32 * 1024;
constexpr std::size_t kMostOrderTerms = 16;

struct Token {
  enum class Kind : std::uint8_t { end, name, number, text, comparator, comma, open, close, semicolon, unknown };
  Kind kind = Kind::end;
  std::string raw;       ///< as written
  std::string text;      ///< of a name: its last part; of a text: without its quotes
  std::string entity;    ///< of a name: what stands before the first dot
  char quote = 0;        ///< of a text, or of a name that is one quoted word
};

Error invalid(std::string message) {
  return {Code::invalid, std::move(message), {}};
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) {
  return is_name_start(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}
bool is_comparator(char c) {
  return c == '=' || c == '<' || c == '>' || c == '!' || c == '~';
}

/// Whatever comes is tokens: what belongs to no token is one of kind `unknown`.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Token> all() {
    std::vector<Token> out;
    do out.push_back(next());
    while (out.back().kind != Token::Kind::end);
    return out;
  }

 private:
  Token next() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    begin_ = at_;
    if (at_ == text_.size()) return {};
    const char c = text_[at_];
    if (c == ',') return symbol(Token::Kind::comma);
    if (c == '(') return symbol(Token::Kind::open);
    if (c == ')') return symbol(Token::Kind::close);
    if (c == ';') return symbol(Token::Kind::semicolon);
    if (is_comparator(c)) return comparator();
    if (c == '\'' || c == '"' || c == '`') return quoted_word();
    if (is_name_start(c)) return name();
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '+' || c == '.') return number();
    return symbol(Token::Kind::unknown);
  }

  Token token(Token::Kind kind, std::string text = {}) const {
    Token out;
    out.kind = kind;
    out.raw = text_.substr(begin_, at_ - begin_);
    out.text = std::move(text);
    return out;
  }
  Token symbol(Token::Kind kind) {
    ++at_;
    return token(kind);
  }
  Token rest() {
    at_ = text_.size();
    return token(Token::Kind::unknown);
  }

  Token comparator() {
    while (at_ < text_.size() && is_comparator(text_[at_])) ++at_;
    return token(Token::Kind::comparator);
  }

  /// The quoted word at `at_`, which then stands behind it; nullopt when nothing closes it. A doubled quote stands for
  /// one; one behind a backslash does not close, unless no other does.
  std::optional<std::string> quoted() {
    const char quote = text_[at_];
    std::string out;
    std::optional<std::size_t> last;  // a quote that would close, were it not escaped
    std::string until_last;
    for (auto i = at_ + 1; i < text_.size(); ++i) {
      const bool escaped = quote != '`' && text_[i] == '\\' && i + 1 < text_.size() && text_[i + 1] == quote;
      const bool doubled = text_[i] == quote && i + 1 < text_.size() && text_[i + 1] == quote;
      if (escaped) {
        out += text_[i++];
        last = i;
        until_last = out;
        out += quote;
      } else if (doubled) {
        out += text_[i++];
      } else if (text_[i] == quote) {
        at_ = i + 1;
        return out;
      } else {
        out += text_[i];
      }
    }
    if (!last) return std::nullopt;
    at_ = *last + 1;
    return until_last;
  }

  /// A text; or a quoted name: `metrics`.x, "run name".
  Token quoted_word() {
    const char quote = text_[at_];
    auto word = quoted();
    if (!word) return rest();
    if (quote != '\'' && at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      return rest_of_name(std::move(*word));
    }
    auto out = token(Token::Kind::text, std::move(*word));
    out.quote = quote;
    return out;
  }

  Token name() {
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    std::string word(text_.substr(begin_, at_ - begin_));
    if (at_ == text_.size() || text_[at_] != '.') return token(Token::Kind::name, std::move(word));
    ++at_;
    return rest_of_name(std::move(word));
  }

  /// What follows `entity.`: a quoted key, or words with dots.
  Token rest_of_name(std::string entity) {
    std::optional<std::string> key;
    if (at_ < text_.size() && (text_[at_] == '`' || text_[at_] == '"' || text_[at_] == '\'')) {
      key = quoted();
    } else {
      const auto begin = at_;
      while (at_ < text_.size() && (is_name(text_[at_]) || text_[at_] == '.')) ++at_;
      key = std::string(text_.substr(begin, at_ - begin));
    }
    if (!key || key->empty()) return rest();
    auto out = token(Token::Kind::name, std::move(*key));
    out.entity = std::move(entity);
    return out;
  }

  Token number() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool sign = (c == '-' || c == '+') && (at_ == begin_ || text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E');
      if (!sign && std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.') break;
      ++at_;
    }
    return token(Token::Kind::number);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
};

bool is_word(const Token& token, std::string_view word) {
  return token.kind == Token::Kind::name && token.entity.empty() && to_lower(token.text) == word;
}

/// What a comparison may have on its left; of a text, a name that is quoted.
bool is_identifier(const Token& token) {
  return token.kind == Token::Kind::name || (token.kind == Token::Kind::text && token.quote != '\'');
}

Error bad_clause(const Token& token) {
  return invalid(fmt::format("Invalid clause(s) in filter string: '{}'", printable(token.raw.substr(0, 300))));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), tokens_(Lexer(text).all()) {}

  Result<std::vector<Comparison>> filter() {
    std::vector<Comparison> out;
    LATHE_CHECK(check_one_statement());
    if (now().kind == Token::Kind::end) return out;
    for (;;) {
      LATHE_TRY(auto one, comparison());
      out.push_back(std::move(one));
      if (now().kind == Token::Kind::end) return out;
      if (out.size() == kMostComparisons)
        return fail(Code::invalid, fmt::format("a filter may hold at most {} comparisons", kMostComparisons));
      if (!is_word(now(), "and")) return fail(bad_clause(now()));
      advance();
    }
  }

  Result<OrderTerm> order() {
    const auto refuse = [&](std::string_view what) {
      return fail(invalid(fmt::format("Invalid {}order_by clause '{}'.{}", what, printable(text_.substr(0, 300)),
                                      what.empty() ? " Could not be parsed." : "")));
    };
    const bool padded = text_.empty() || is_space(text_.front()) || is_space(text_.back());
    if (padded || !is_identifier(now())) return refuse("");
    OrderTerm out{now().entity, now().text, true};
    if (const auto dot = out.key.find('.'); now().kind == Token::Kind::text && dot != std::string::npos) {
      out.entity = now().quote + out.key.substr(0, dot);  // `metrics.a`: the quote is no name's
      out.key.erase(0, dot + 1);
    }
    advance();
    if (now().kind == Token::Kind::end) return out;
    if (now().kind != Token::Kind::name || tokens_[at_ + 1].kind != Token::Kind::end) return refuse("");
    if (!is_word(now(), "asc") && !is_word(now(), "desc"))
      return refuse(out.key == "timestamp" ? "" : "ordering key in ");
    out.ascending = is_word(now(), "asc");
    return out;
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  void advance() { ++at_; }  // the last token is `end`, which nothing passes

  Result<void> check_one_statement() const {
    const auto end = std::find_if(tokens_.begin(), tokens_.end(),
                                  [](const Token& t) { return t.kind == Token::Kind::semicolon; });
    if (end == tokens_.end() || end + 1 == tokens_.end() || (end + 1)->kind == Token::Kind::end) return {};
    return fail(invalid(fmt::format("Search filter contained multiple expression '{}'. Provide AND-ed expression list.",
                                    printable(text_.substr(0, 300)))));
  }

  /// The operator, in capitals, when one stands here; else nullopt.
  std::optional<std::string> op() {
    const auto& token = now();
    if (token.kind == Token::Kind::comparator) {
      advance();
      return token.raw;
    }
    static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
        {"like", "NOT LIKE"}, {"ilike", "NOT ILIKE"}, {"rlike", "NOT RLIKE"}, {"in", "NOT IN"}};
    const std::size_t before = is_word(token, "not") ? 1 : 0;
    for (const auto& [word, negated] : kWords)
      if (is_word(tokens_[at_ + before], word)) {
        at_ += 1 + before;
        return std::string(before != 0 ? negated : negated.substr(4));
      }
    if (!is_word(token, "is")) return std::nullopt;
    const std::size_t negated = is_word(tokens_[at_ + 1], "not") ? 1 : 0;
    if (!is_word(tokens_[at_ + 1 + negated], "null")) return std::nullopt;
    at_ += 2 + negated;
    return negated != 0 ? "IS NOT NULL" : "IS NULL";
  }

  static Op op_of(std::string_view text) {
    static constexpr std::string_view kNames[] = {"=",    "!=",    "<",  "<=",     ">",       ">=",
                                                  "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"};
    const auto found = std::find(std::begin(kNames), std::end(kNames), text);
    return static_cast<Op>(found - std::begin(kNames));  // behind them: Op::other
  }

  Result<Literal> literal() {
    Literal out;
    const auto& token = now();
    out.text = token.raw;
    switch (token.kind) {
      case Token::Kind::number: {
        const auto number = parse_number(token.raw);
        if (!number) return fail(bad_clause(token));
        out.kind = Literal::Kind::number;
        out.number = *number;
        break;
      }
      case Token::Kind::text:
        out.kind = token.quote == '`' ? Literal::Kind::word : Literal::Kind::text;
        if (out.kind == Literal::Kind::text) out.text = token.text;
        break;
      case Token::Kind::name:
        for (const std::string_view word : {"true", "false", "null", "and", "or", "not", "select"})
          if (is_word(token, word)) return fail(bad_clause(token));
        out.kind = Literal::Kind::word;
        break;
      case Token::Kind::open:
        return list();
      default:
        return fail(bad_clause(token));
    }
    advance();
    return out;
  }

  Result<Literal> list() {
    static constexpr std::string_view kStart = "While parsing a list in the query, expected ";
    const auto refuse = [](std::string_view why) { return fail(invalid(fmt::format("{}{}", kStart, why))); };
    Literal out;
    out.kind = Literal::Kind::list;
    for (;;) {
      advance();
      if (now().kind == Token::Kind::close && out.list.empty())
        return refuse("a non-empty list of string values, but got empty list");
      if (now().kind != Token::Kind::close) {  // ('a',) is a list too
        if (now().kind == Token::Kind::number)
          return refuse(fmt::format("string value, punctuation, or whitespace, but got different type in list: {}",
                                    printable(now().raw)));
        if (now().kind != Token::Kind::text || now().quote == '`')
          return refuse("a non-empty list of string values, but got ill-formed list.");
        out.text += (out.list.empty() ? "" : ", ") + now().raw;
        out.list.push_back(now().text);
        advance();
      }
      if (now().kind == Token::Kind::close) {
        advance();
        out.text = "(" + out.text + ")";
        return out;
      }
      if (now().kind != Token::Kind::comma) return refuse("a non-empty list of string values, but got ill-formed list.");
    }
  }

  Result<Comparison> comparison() {
    const auto left = now();
    const bool value = left.kind == Token::Kind::number || left.kind == Token::Kind::text;
    if (!value && left.kind != Token::Kind::name) return fail(bad_clause(left));
    advance();
    Comparison out{left.entity, left.text, Op::eq, {}, {}};
    const auto op = this->op();
    if (!op) return fail(bad_clause(left));
    out.op_text = *op;
    out.op = op_of(*op);
    if (out.op == Op::is_null || out.op == Op::is_not_null) {
      if (left.entity.empty()) return fail(bad_clause(left));  // only keys can be missing
      return out;
    }
    LATHE_TRY(out.value, literal());
    if (!is_identifier(left))
      return fail(invalid(fmt::format("Invalid comparison clause. Expected 'Identifier' found '{}'",
                                      printable(left.raw.substr(0, 300)))));
    const bool takes_list = out.op == Op::in || out.op == Op::not_in;
    if (takes_list != (out.value.kind == Literal::Kind::list)) return fail(bad_clause(left));
    return out;
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

Result<std::vector<Comparison>> parse_filter(std::string_view filter) {
  if (filter.size() > kFilterLimit)
    return fail(Code::invalid, fmt::format("a filter may hold at most {} bytes", kFilterLimit));
  return Parser(filter).filter();
}

Result<OrderTerm> parse_order(std::string_view text) {
  if (text.size() > kFilterLimit)
    return fail(Code::invalid, fmt::format("an order may hold at most {} bytes", kFilterLimit));
  return Parser(text).order();
}

Result<std::vector<OrderTerm>> parse_orders(const std::vector<std::string>& texts) {
  if (texts.size() > kMostOrderTerms)
    return fail(Code::invalid, fmt::format("order_by may hold at most {} terms", kMostOrderTerms));
  std::vector<OrderTerm> out;
  for (const auto& text : texts) {
    LATHE_TRY(auto term, parse_order(text));
    out.push_back(std::move(term));
  }
  return out;
}

Error repeated_order(const std::vector<std::string>& texts) {
  return invalid(fmt::format("`order_by` contains duplicate fields: ['{}']",
                             printable(fmt::format("{}", fmt::join(texts, "', '"))).substr(0, 600)));
}

}  // namespace lathe::tracking
