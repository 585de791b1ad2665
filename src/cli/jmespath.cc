#include "cli/jmespath.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/text.h"
#include "cli/jmespath_node.h"

namespace lathe::cli {
namespace {

using Node = JmesPath::Node;
using NodePtr = std::unique_ptr<Node>;

enum class Token {
  end,
  identifier,
  quoted,
  literal,
  number,
  current,
  reference,
  colon,
  comma,
  rbracket,
  rparen,
  rbrace,
  pipe,
  either,
  both,
  compare,
  flatten,
  star,
  filter,
  dot,
  negation,
  lbrace,
  lbracket,
  lparen
};

/// How strongly a token binds what stands left of it.
int power(Token token) {
  switch (token) {
    case Token::pipe:
      return 1;
    case Token::either:
      return 2;
    case Token::both:
      return 3;
    case Token::compare:
      return 5;
    case Token::flatten:
      return 9;
    case Token::star:
      return 20;
    case Token::filter:
      return 21;
    case Token::dot:
      return 40;
    case Token::negation:
      return 45;
    case Token::lbrace:
      return 50;
    case Token::lbracket:
      return 55;
    case Token::lparen:
      return 60;
    default:
      return 0;
  }
}
constexpr int kProjectionStop = 10;
constexpr int kMaxDepth = 200;

struct Lexed {
  Token token = Token::end;
  std::string text;  ///< as written; for identifiers and literals their content
  json::Value value = nullptr;
  std::size_t column = 1;
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Lexed>> run() {
    std::vector<Lexed> out;
    while (true) {
      while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
      start_ = at_;
      if (at_ == text_.size()) break;
      LATHE_TRY(auto lexed, next());
      lexed.column = start_ + 1;
      out.push_back(std::move(lexed));
    }
    out.push_back({Token::end, "the end", nullptr, text_.size() + 1});
    return out;
  }

 private:
  Result<Lexed> next() {
    const char c = text_[at_++];
    if (is_letter(c)) {
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
      return Lexed{Token::identifier, std::string(written()), nullptr, 0};
    }
    if (is_digit(c) || (c == '-' && at_ < text_.size() && is_digit(text_[at_]))) {
      while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
      std::int64_t number = 0;
      const auto [end, error] = std::from_chars(text_.data() + start_, text_.data() + at_, number);
      if (error != std::errc{}) return jmes_fail(start_ + 1, "the number is too large");
      return Lexed{Token::number, std::string(written()), number, 0};
    }
    switch (c) {
      case '"':
        return quoted();
      case '\'':
        return raw();
      case '`':
        return literal();
      case '@':
        return one(Token::current);
      case ':':
        return one(Token::colon);
      case ',':
        return one(Token::comma);
      case ']':
        return one(Token::rbracket);
      case ')':
        return one(Token::rparen);
      case '}':
        return one(Token::rbrace);
      case '{':
        return one(Token::lbrace);
      case '(':
        return one(Token::lparen);
      case '.':
        return one(Token::dot);
      case '*':
        return one(Token::star);
      case '[':
        return one(take(']') ? Token::flatten : take('?') ? Token::filter : Token::lbracket);
      case '|':
        return one(take('|') ? Token::either : Token::pipe);
      case '&':
        return one(take('&') ? Token::both : Token::reference);
      case '!':
        return one(take('=') ? Token::compare : Token::negation);
      case '<':
      case '>':
        take('=');
        return one(Token::compare);
      case '=':
        if (take('=')) return one(Token::compare);
        return jmes_fail(start_ + 1, "expected ==");
      default:
        return jmes_fail(start_ + 1, fmt::format("\"{}\" is not expected here", printable(std::string(1, c))));
    }
  }

  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view written() const { return text_.substr(start_, at_ - start_); }
  Lexed one(Token token) const { return {token, std::string(written()), nullptr, 0}; }

  /// Moves behind the closing delimiter and answers what lies before it, escapes untouched.
  Result<std::string_view> until(char delimiter) {
    const auto from = at_;
    while (at_ < text_.size() && text_[at_] != delimiter) at_ += text_[at_] == '\\' ? 2 : 1;
    if (at_ >= text_.size()) return jmes_fail(start_ + 1, fmt::format("expected a closing {} for this one", delimiter));
    return text_.substr(from, at_++ - from);
  }

  Result<Lexed> quoted() {
    LATHE_TRY(const auto inner, until('"'));
    const auto value = json::parse(fmt::format("\"{}\"", inner));
    if (!value || !value->is_string()) return jmes_fail(start_ + 1, "expected a name in JSON's quotes");
    return Lexed{Token::quoted, std::string(json::view(value->get_string())), nullptr, 0};
  }

  Result<Lexed> raw() {
    LATHE_TRY(const auto inner, until('\''));
    return Lexed{Token::literal, std::string(written()), json::Value(boost::json::string_view(unescaped(inner, '\''))),
                 0};
  }

  Result<Lexed> literal() {
    LATHE_TRY(const auto inner, until('`'));
    const auto text = unescaped(inner, '`');
    auto value = json::parse(text);
    // Before raw strings there were, `text` without quotes was text; `az` still takes it.
    if (!value)
      return Lexed{Token::literal, std::string(written()),
                   json::Value(boost::json::string_view(std::string(trim(text)))), 0};
    return Lexed{Token::literal, std::string(written()), std::move(*value), 0};
  }

  static std::string unescaped(std::string_view text, char delimiter) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == delimiter) ++i;
      out += text[i];
    }
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t start_ = 0;
};

/// Top-down operator precedence: `nud` reads what starts an expression, `led` what continues one.
class Parser {
 public:
  explicit Parser(std::vector<Lexed> tokens) : tokens_(std::move(tokens)) {}

  Result<NodePtr> run() {
    if (now().token == Token::end) return jmes_fail(1, "expected an expression");
    LATHE_TRY(auto node, expression(0));
    if (now().token != Token::end) return unexpected("the end");
    return node;
  }

 private:
  const Lexed& now() const { return tokens_[at_]; }
  const Lexed& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Lexed take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }

  tl::unexpected<Error> unexpected(const std::string& wanted) const {
    return jmes_fail(now().column, fmt::format("expected {}, not {}", wanted, now().text));
  }
  Result<void> match(Token token, const char* wanted) {
    if (now().token != token) return unexpected(wanted);
    take();
    return {};
  }

  static NodePtr make(JmesKind kind, std::size_t column) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->column = column;
    return node;
  }
  static NodePtr make(JmesKind kind, std::size_t column, NodePtr first, NodePtr second = nullptr) {
    auto node = make(kind, column);
    node->children.push_back(std::move(first));
    if (second) node->children.push_back(std::move(second));
    return node;
  }
  NodePtr identity() const { return make(JmesKind::identity, now().column); }

  Result<NodePtr> expression(int binding) {
    if (++depth_ > kMaxDepth) return jmes_fail(now().column, "the expression is nested too deeply");
    LATHE_TRY(auto left, nud());
    while (binding < power(now().token)) {
      LATHE_TRY(left, led(std::move(left)));
    }
    --depth_;
    return left;
  }

  Result<NodePtr> nud() {
    const auto token = take();
    switch (token.token) {
      case Token::literal: {
        auto node = make(JmesKind::literal, token.column);
        node->value = token.value;
        return node;
      }
      case Token::quoted:
        if (now().token == Token::lparen) return jmes_fail(token.column, "the name of a function has no quotes");
        [[fallthrough]];
      case Token::identifier: {
        auto node = make(JmesKind::field, token.column);
        node->text = token.text;
        return node;
      }
      case Token::star: {
        if (now().token == Token::rbracket)
          return make(JmesKind::object_projection, token.column, identity(), identity());
        LATHE_TRY(auto right, projection_rhs(power(Token::star)));
        return make(JmesKind::object_projection, token.column, identity(), std::move(right));
      }
      case Token::filter:
        return filter(identity(), token.column);
      case Token::lbrace:
        return multi_hash(token.column);
      case Token::lparen: {
        LATHE_TRY(auto inner, expression(0));
        LATHE_CHECK(match(Token::rparen, ")"));
        return inner;
      }
      case Token::flatten:
        return flatten(identity(), token.column);
      case Token::negation: {
        LATHE_TRY(auto inner, expression(power(Token::negation)));
        return make(JmesKind::negation, token.column, std::move(inner));
      }
      case Token::lbracket:
        if (now().token == Token::number || now().token == Token::colon)
          return index_or_slice(identity(), token.column);
        if (now().token == Token::star && after().token == Token::rbracket) return list_star(identity(), token.column);
        return multi_list(token.column);
      case Token::current:
        return make(JmesKind::identity, token.column);
      case Token::reference: {
        LATHE_TRY(auto inner, expression(0));
        return make(JmesKind::reference, token.column, std::move(inner));
      }
      default:
        return jmes_fail(token.column, fmt::format("expected an expression, not {}", token.text));
    }
  }

  Result<NodePtr> led(NodePtr left) {
    const auto token = take();
    switch (token.token) {
      case Token::dot:
        if (now().token == Token::star) {
          take();
          LATHE_TRY(auto right, projection_rhs(power(Token::dot)));
          return make(JmesKind::object_projection, token.column, std::move(left), std::move(right));
        } else {
          LATHE_TRY(auto right, dot_rhs(power(Token::dot)));
          return make(JmesKind::sequence, token.column, std::move(left), std::move(right));
        }
      case Token::pipe:
        return binary(JmesKind::sequence, token, std::move(left));
      case Token::either:
        return binary(JmesKind::either, token, std::move(left));
      case Token::both:
        return binary(JmesKind::both, token, std::move(left));
      case Token::compare:
        return binary(JmesKind::comparison, token, std::move(left));
      case Token::lparen:
        return function(std::move(left), token.column);
      case Token::filter:
        return filter(std::move(left), token.column);
      case Token::flatten:
        return flatten(std::move(left), token.column);
      case Token::lbracket:
        if (now().token == Token::number || now().token == Token::colon)
          return index_or_slice(std::move(left), token.column);
        return list_star(std::move(left), token.column);
      default:
        return jmes_fail(token.column, fmt::format("{} is not expected here", token.text));
    }
  }

  Result<NodePtr> binary(JmesKind kind, const Lexed& token, NodePtr left) {
    LATHE_TRY(auto right, expression(power(token.token)));
    auto node = make(kind, token.column, std::move(left), std::move(right));
    node->text = token.text;
    return node;
  }

  Result<NodePtr> function(NodePtr name, std::size_t column) {
    if (name->kind != JmesKind::field) return jmes_fail(column, "only a function's name may stand before (");
    auto node = make(JmesKind::function, name->column);
    node->text = name->text;
    while (now().token != Token::rparen) {
      LATHE_TRY(auto argument, expression(0));
      node->children.push_back(std::move(argument));
      if (now().token == Token::rparen) break;
      LATHE_CHECK(match(Token::comma, ", or )"));
      if (now().token == Token::rparen) return unexpected("an argument");
    }
    take();
    LATHE_CHECK(jmes_check_function(*node));
    return node;
  }

  Result<NodePtr> filter(NodePtr left, std::size_t column) {
    LATHE_TRY(auto condition, expression(0));
    LATHE_CHECK(match(Token::rbracket, "]"));
    auto right = identity();
    if (now().token != Token::flatten) {
      LATHE_TRY(right, projection_rhs(power(Token::filter)));
    }
    auto node = make(JmesKind::filter_projection, column, std::move(left), std::move(right));
    node->children.push_back(std::move(condition));
    return node;
  }

  Result<NodePtr> flatten(NodePtr left, std::size_t column) {
    LATHE_TRY(auto right, projection_rhs(power(Token::flatten)));
    return make(JmesKind::list_projection, column, make(JmesKind::flatten, column, std::move(left)), std::move(right));
  }

  Result<NodePtr> list_star(NodePtr left, std::size_t column) {
    LATHE_CHECK(match(Token::star, "a number, : or *"));
    LATHE_CHECK(match(Token::rbracket, "]"));
    LATHE_TRY(auto right, projection_rhs(power(Token::star)));
    return make(JmesKind::list_projection, column, std::move(left), std::move(right));
  }

  Result<NodePtr> index_or_slice(NodePtr left, std::size_t column) {
    if (now().token == Token::number && after().token == Token::rbracket) {
      auto index = make(JmesKind::index, now().column);
      index->number = take().value.get_int64();
      take();
      return make(JmesKind::sequence, column, std::move(left), std::move(index));
    }
    auto slice = make(JmesKind::slice, column);
    std::size_t part = 0;
    while (now().token != Token::rbracket) {
      if (now().token == Token::colon && part < 2) {
        ++part;
        take();
      } else if (now().token == Token::number && !slice->slice[part]) {
        slice->slice[part] = take().value.get_int64();
      } else {
        return unexpected("a number, : or ]");
      }
    }
    if (slice->slice[2] == 0) return jmes_fail(column, "the step of a slice cannot be 0");
    take();
    LATHE_TRY(auto right, projection_rhs(power(Token::star)));
    auto sliced = make(JmesKind::sequence, column, std::move(left), std::move(slice));
    return make(JmesKind::list_projection, column, std::move(sliced), std::move(right));
  }

  Result<NodePtr> projection_rhs(int binding) {
    if (power(now().token) < kProjectionStop) return identity();
    if (now().token == Token::lbracket || now().token == Token::filter) return expression(binding);
    if (now().token == Token::dot) {
      take();
      return dot_rhs(binding);
    }
    return unexpected("., [ or the end");
  }

  Result<NodePtr> dot_rhs(int binding) {
    switch (now().token) {
      case Token::identifier:
      case Token::quoted:
      case Token::star:
        return expression(binding);
      case Token::lbracket: {
        const auto column = take().column;
        return multi_list(column);
      }
      case Token::lbrace: {
        const auto column = take().column;
        return multi_hash(column);
      }
      default:
        return unexpected("a name, *, [ or {");
    }
  }

  Result<NodePtr> multi_list(std::size_t column) {
    auto node = make(JmesKind::list, column);
    while (true) {
      LATHE_TRY(auto item, expression(0));
      node->children.push_back(std::move(item));
      if (now().token == Token::rbracket) break;
      LATHE_CHECK(match(Token::comma, ", or ]"));
    }
    take();
    return node;
  }

  Result<NodePtr> multi_hash(std::size_t column) {
    auto node = make(JmesKind::object, column);
    while (true) {
      if (now().token != Token::identifier && now().token != Token::quoted) return unexpected("a name");
      node->names.push_back(take().text);
      LATHE_CHECK(match(Token::colon, ":"));
      LATHE_TRY(auto item, expression(0));
      node->children.push_back(std::move(item));
      if (now().token == Token::rbrace) break;
      LATHE_CHECK(match(Token::comma, ", or }"));
    }
    take();
    return node;
  }

  std::vector<Lexed> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

JmesPath::JmesPath(std::unique_ptr<Node> root) : root_(std::move(root)) {}
JmesPath::~JmesPath() = default;
JmesPath::JmesPath(JmesPath&&) noexcept = default;
JmesPath& JmesPath::operator=(JmesPath&&) noexcept = default;

Result<JmesPath> JmesPath::compile(std::string_view text) {
  Lexer lexer(text);
  LATHE_TRY(auto tokens, lexer.run());
  Parser parser(std::move(tokens));
  LATHE_TRY(auto root, parser.run());
  return JmesPath(std::move(root));
}

Result<json::Value> JmesPath::apply(const json::Value& document) const {
  return jmes_evaluate(*root_, document);
}

}  // namespace lathe::cli
