#include "json/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/text.h"

namespace lathe::json {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 100'000;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// [-+]? ( digits [. digits*] | . digits ) ( [eE] [-+]? digits )?
bool looks_like_float(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const auto exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    auto power = text.substr(exponent + 1);
    if (!power.empty() && (power[0] == '-' || power[0] == '+')) power.remove_prefix(1);
    if (!all_digits(power)) return false;
    text = text.substr(0, exponent);
  }
  const auto dot = text.find('.');
  if (dot == std::string_view::npos) return exponent != std::string_view::npos && all_digits(text);
  const auto whole = text.substr(0, dot);
  const auto fraction = text.substr(dot + 1);
  return (!whole.empty() || !fraction.empty()) && (whole.empty() || all_digits(whole)) &&
         (fraction.empty() || all_digits(fraction));
}

std::optional<Value> integer(std::string_view text) {
  const bool negative = text[0] == '-';
  auto digits = text[0] == '-' || text[0] == '+' ? text.substr(1) : text;
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0o")) {
    base = digits[1] == 'x' ? 16 : 8;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    return std::nullopt;  // 007: octal to some, decimal to others
  }
  if (digits.empty() || (base == 10 && !all_digits(digits))) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (end != digits.data() + digits.size()) return std::nullopt;
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (error == std::errc{} && number <= kMost)
    return Value(negative ? -static_cast<std::int64_t>(number) : static_cast<std::int64_t>(number));
  if (error == std::errc{} && !negative) return Value(number);
  return std::nullopt;
}

/// What yaml-cpp says, as what the writer of the file should look for.
std::string friendly(const std::string& message) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kWords{{
      {"end of map not found", "expected another \"key: value\" at this indentation, or the end of the mapping"},
      {"end of map flow not found", "expected \",\" or \"}\""},
      {"end of sequence not found", "expected another \"- item\" at this indentation, or the end of the list"},
      {"end of sequence flow not found", "expected \",\" or \"]\""},
      {"illegal map value", "expected no second \":\" here; quote the value if it holds \": \""},
      {"illegal map key", "expected no key here; check the indentation"},
      {"illegal block entry", "expected no \"- item\" here; check the indentation"},
      {"illegal tab when looking for indentation", "expected spaces; a tab cannot indent"},
      {"illegal EOF in scalar", "expected the closing quote before the end of the file"},
      {"unknown token", "expected a value; quote text that starts with @, ` or %"},
      {"the referenced anchor is not defined", "expected the name of an anchor (&name) that stands above"},
      {"illegal flow end", "expected a \"[\" or \"{\" before this bracket"},
      {"unknown escape character: ", "expected an escape that YAML knows; use single quotes to keep a backslash"},
      {"illegal document indicator in scalar", "expected the closing quote before \"---\""},
  }};
  for (const auto& [theirs, ours] : kWords)
    if (message.starts_with(theirs)) return std::string(ours);
  return message;
}

/// Whether the line (from 0) is indented with a tab, of which the parser says other things than that.
bool tab_indents(std::string_view text, int line) {
  for (; line > 0 && !text.empty(); --line) text.remove_prefix(std::min(text.size(), text.find('\n', 0) + 1));
  const auto indentation = text.substr(0, text.find_first_not_of(" \t"));
  return indentation.find('\t') != std::string_view::npos;
}

struct Problem {
  YAML::Mark mark;
  std::string message;
};

/// Builds the document from yaml-cpp's events. Reports a Problem by throwing it through the parser.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Problem{mark, "expected one document, here a second one starts"};
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark&, const std::string&) override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, anchor, {Value(nullptr), {}, 1}); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (tag == "!") check_closed(mark);
    add(mark, anchor, {scalar(mark, tag, value), value, 1});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Problem{mark, "expected the name of an anchor (&name) that stands above"};
    add(mark, 0, found->second);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, Value(Array{}));
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, Value(Object{}));
  }
  void OnMapEnd() override { close(); }

  YamlDocument document;

 private:
  struct Item {
    Value value;
    std::string text;  ///< as written, for keys
    std::size_t values = 0;
  };
  struct Frame {
    Item item;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    std::string path;
    std::optional<std::string> key;
    YAML::Mark key_mark;
    std::vector<Value> merges;
  };

  static Value scalar(const YAML::Mark& mark, const std::string& tag, const std::string& value) {
    if (tag.empty() || tag == "?") return plain_scalar(value);
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return Value(boost::json::string_view(value));
    if (tag.starts_with("tag:yaml.org,2002:")) return plain_scalar(value);
    throw Problem{mark, fmt::format("expected a plain value, not the tag {}", tag)};
  }

  /// yaml-cpp lets the end of the file close a quoted scalar, which would swallow the rest of the file.
  void check_closed(const YAML::Mark& mark) const {
    const auto start = static_cast<std::size_t>(mark.pos);
    if (start >= text_.size() || (text_[start] != '"' && text_[start] != '\'')) return;
    const char quote = text_[start];
    for (std::size_t i = start + 1; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\')
        ++i;
      else if (text_[i] == quote)
        return;
    }
    throw Problem{mark, fmt::format("expected a closing {} for this one", quote)};
  }

  void count(const YAML::Mark& mark, std::size_t values) {
    values_ += values;
    if (values_ > kMaxValues) throw Problem{mark, fmt::format("expected at most {} values", kMaxValues)};
  }

  /// The path of the next value in the innermost list or mapping.
  std::string next_path() const {
    if (stack_.empty()) return {};
    const auto& frame = stack_.back();
    if (const auto* list = frame.item.value.if_array()) return fmt::format("{}[{}]", frame.path, list->size());
    return frame.path.empty() ? *frame.key : frame.path + "." + *frame.key;
  }

  bool expects_key() const {
    return !stack_.empty() && stack_.back().item.value.is_object() && !stack_.back().key.has_value();
  }

  void note_position(const YAML::Mark& mark) {
    const bool in_map = !stack_.empty() && stack_.back().key;
    const auto& at = in_map ? stack_.back().key_mark : mark;
    document.positions.try_emplace(
        next_path(), Position{static_cast<std::size_t>(at.line + 1), static_cast<std::size_t>(at.column + 1)});
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Value empty) {
    if (stack_.size() >= kMaxDepth) throw Problem{mark, fmt::format("expected at most {} levels", kMaxDepth)};
    if (expects_key()) throw Problem{mark, "expected a key that is a plain word"};
    count(mark, 1);
    note_position(mark);
    stack_.push_back(Frame{{std::move(empty), {}, 1}, mark, anchor, next_path(), {}, {}, {}});
  }

  void close() {
    auto frame = std::move(stack_.back());
    stack_.pop_back();
    for (const auto& merged : frame.merges)
      for (const auto& member : merged.get_object())
        frame.item.value.get_object().insert(member);  // keeps what is there already: the mapping's own keys win
    if (frame.anchor != 0) anchors_[frame.anchor] = frame.item;
    place(frame.mark, std::move(frame.item));
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, Item item) {
    count(mark, item.values);
    if (anchor != 0) anchors_[anchor] = item;
    if (expects_key()) {
      if (item.value.is_structured()) throw Problem{mark, "expected a key that is a plain word"};
      stack_.back().key = item.text;
      stack_.back().key_mark = mark;
      if (item.text != "<<" && stack_.back().item.value.get_object().contains(item.text))
        throw Problem{mark, fmt::format("expected each key once, \"{}\" stands here again", item.text)};
      return;
    }
    note_position(mark);
    place(mark, std::move(item));
  }

  void place(const YAML::Mark& mark, Item item) {
    if (stack_.empty()) {
      document.value = std::move(item.value);
      return;
    }
    auto& frame = stack_.back();
    frame.item.values += item.values;
    if (auto* list = frame.item.value.if_array()) {
      list->push_back(std::move(item.value));
      return;
    }
    const auto key = *std::exchange(frame.key, std::nullopt);
    if (key == "<<")
      merge(mark, frame, std::move(item.value));
    else
      frame.item.value.get_object()[key] = std::move(item.value);
  }

  static void merge(const YAML::Mark& mark, Frame& frame, Value value) {
    if (value.is_object()) {
      frame.merges.push_back(std::move(value));
    } else if (value.is_array()) {
      for (auto& part : value.get_array()) {
        if (!part.is_object()) throw Problem{mark, "expected a list of mappings after \"<<\""};
        frame.merges.push_back(std::move(part));
      }
    } else {
      throw Problem{mark, "expected a mapping, mostly an alias, after \"<<\""};
    }
  }

  std::string_view text_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Item> anchors_;
  std::size_t values_ = 0;
  int documents_ = 0;
};

bool reads_back_as_text(std::string_view text) {
  if (text.empty() || !plain_scalar(text).is_string() || trim(text).size() != text.size()) return false;
  if (text.find_first_of("\n\t\"'#{}[],&*!|>%@`\\") != std::string_view::npos) return false;
  if (text.find(": ") != std::string_view::npos || text.back() == ':') return false;
  return text[0] != '-' && text[0] != '?' && text[0] != ':' && text != "<<" && text != "---" && text != "..." &&
         std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
}

std::string yaml_scalar(const Value& value) {
  if (value.is_object()) return "{}";
  if (value.is_array()) return "[]";
  if (value.is_string() && reads_back_as_text(view(value.get_string()))) return std::string(view(value.get_string()));
  if (value.is_double() && std::isnan(value.get_double())) return ".nan";
  if (value.is_double() && std::isinf(value.get_double())) return value.get_double() > 0 ? ".inf" : "-.inf";
  return print(value);  // JSON's strings are YAML's double-quoted strings
}

bool is_block(const Value& value) {
  return (value.is_object() && !value.get_object().empty()) || (value.is_array() && !value.get_array().empty());
}

/// Several lines, as a literal block; only text that such a block can carry unchanged.
bool is_literal(const Value& value) {
  if (!value.is_string()) return false;
  const auto text = view(value.get_string());
  return text.size() > 1 && text.back() == '\n' && text[text.size() - 2] != '\n' && text[0] != ' ' && text[0] != '\n' &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return c == '\n' || static_cast<unsigned char>(c) >= 0x20; });
}

void yaml_to(std::string& out, const Value& value, std::size_t depth, bool first_indented) {
  const std::string indent(depth * 2, ' ');
  const auto put = [&](std::string_view head, const Value& item, bool in_list) {
    if (!std::exchange(first_indented, false)) out += indent;
    out += head;
    if (is_block(item)) {
      if (in_list) {
        out += " ";
        yaml_to(out, item, depth + 1, true);
      } else {
        out += "\n";
        yaml_to(out, item, item.is_array() ? depth : depth + 1, false);
      }
    } else if (is_literal(item)) {
      out += " |\n";
      const auto text = view(item.get_string());
      for (const auto line : split(text.substr(0, text.size() - 1), '\n'))
        out += line.empty() ? "\n" : fmt::format("{}  {}\n", indent, line);
    } else {
      out += " " + yaml_scalar(item) + "\n";
    }
  };
  if (const auto* object = value.if_object(); object != nullptr && is_block(value)) {
    for (const auto& member : *object) put(yaml_scalar(Value(member.key())) + ":", member.value(), false);
  } else if (const auto* list = value.if_array(); list != nullptr && is_block(value)) {
    for (const auto& item : *list) put("-", item, true);
  } else {
    out += indent + yaml_scalar(value) + "\n";
  }
}

}  // namespace

const Position* YamlDocument::find(std::string_view path) const {
  while (!path.empty()) {
    if (const auto found = positions.find(path); found != positions.end()) return &found->second;
    const auto cut = path.find_last_of(".[");
    if (cut == std::string_view::npos) return nullptr;
    path = path.substr(0, cut);
  }
  return nullptr;
}

Value plain_scalar(std::string_view text) {
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return Value(nullptr);
  if (is_one_of(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return Value(true);
  if (is_one_of(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})) return Value(false);
  if (auto number = integer(text)) return *number;
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return Value(std::numeric_limits<double>::quiet_NaN());
  if (is_one_of(text, {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"}))
    return Value(std::numeric_limits<double>::infinity());
  if (is_one_of(text, {"-.inf", "-.Inf", "-.INF"})) return Value(-std::numeric_limits<double>::infinity());
  if (looks_like_float(text)) {
    const auto digits = text[0] == '+' ? text.substr(1) : text;
    double number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc{} && end == digits.data() + digits.size()) return Value(number);
  }
  return Value(boost::json::string_view(text.data(), text.size()));
}

Result<YamlDocument> parse_yaml(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes)
    return fail(Code::exhausted, fmt::format("{}: expected at most {} MiB", name, kMaxBytes >> 20));
  const auto wrong = [&](const YAML::Mark& mark, const std::string& message) {
    if (mark.is_null()) return fail(Code::invalid, fmt::format("{}: {}", name, message));
    return fail(Code::invalid, fmt::format("{}:{}:{}: {}", name, mark.line + 1, mark.column + 1, message));
  };
  Builder builder(text);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Problem& problem) {
    return wrong(problem.mark, problem.message);
  } catch (const YAML::Exception& error) {
    if (tab_indents(text, error.mark.line)) return wrong(error.mark, "expected spaces; a tab cannot indent");
    return wrong(error.mark, friendly(error.msg));
  }
  return std::move(builder.document);
}

std::string to_yaml(const Value& value) {
  std::string out;
  yaml_to(out, value, 0, false);
  return out;
}

}  // namespace lathe::json
