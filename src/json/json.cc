#include "json/json.h"

#include <fmt/format.h>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/stream_parser.hpp>
#include <charconv>
#include <cmath>
#include <limits>

#include "json/hot.h"

namespace lathe::json {
namespace {

Error wrong_type(std::string_view key, std::string_view expected, const Value& got) {
  return {Code::invalid, fmt::format("\"{}\" must be {}, not {}", key, expected, kind_name(got)), {}};
}

std::string position(std::string_view text, std::size_t offset) {
  std::size_t line = 1;
  std::size_t column = 1;
  for (std::size_t i = 0; i < offset && i < text.size(); ++i) {
    ++column;
    if (text[i] == '\n') {
      ++line;
      column = 1;
    }
  }
  return fmt::format("line {}, column {}", line, column);
}

void pretty_to(std::string& out, const Value& value, std::size_t depth) {
  const std::string indent((depth + 1) * 2, ' ');
  const std::string outdent(depth * 2, ' ');
  if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
    out += "{\n";
    bool first = true;
    for (const auto& member : *object) {
      if (!std::exchange(first, false)) out += ",\n";
      out += indent + boost::json::serialize(Value(member.key())) + ": ";
      pretty_to(out, member.value(), depth + 1);
    }
    out += "\n" + outdent + "}";
  } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
    out += "[\n";
    bool first = true;
    for (const auto& item : *array) {
      if (!std::exchange(first, false)) out += ",\n";
      out += indent;
      pretty_to(out, item, depth + 1);
    }
    out += "\n" + outdent + "]";
  } else {
    out += print(value);
  }
}

void print_to(std::string& out, const Value& value) {
  switch (value.kind()) {
    case boost::json::kind::object: {
      out.push_back('{');
      bool first = true;
      for (const auto& member : value.get_object()) {
        if (!std::exchange(first, false)) out.push_back(',');
        append(out, {member.key().data(), member.key().size()});
        out.push_back(':');
        print_to(out, member.value());
      }
      out.push_back('}');
      break;
    }
    case boost::json::kind::array: {
      out.push_back('[');
      bool first = true;
      for (const auto& item : value.get_array()) {
        if (!std::exchange(first, false)) out.push_back(',');
        print_to(out, item);
      }
      out.push_back(']');
      break;
    }
    case boost::json::kind::double_: append(out, value.get_double()); break;
    case boost::json::kind::int64: append(out, value.get_int64()); break;
    case boost::json::kind::string: append(out, view(value.get_string())); break;
    default: out += boost::json::serialize(value);
  }
}

}  // namespace

namespace {

Result<Value> parse_into(std::string_view text, boost::json::storage_ptr storage) {
  boost::json::parse_options options;
  options.max_depth = 64;
  boost::json::stream_parser parser({}, options);
  parser.reset(std::move(storage));
  boost::json::error_code error;
  const auto used = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  if (error == boost::json::error::incomplete)
    return fail(Code::invalid, "not JSON: the document ends too early");
  if (!error) {
    const auto rest = text.substr(used).find_first_not_of(" \t\r\n");
    if (rest != std::string_view::npos)
      return fail(Code::invalid, fmt::format("not JSON: {}: something follows the document", position(text, used + rest)));
    return parser.release();
  }
  return fail(Code::invalid, fmt::format("not JSON: {}: {}", position(text, used), error.message()));
}

}  // namespace

Result<Value> parse(std::string_view text) { return parse_into(text, {}); }

Result<Value> parse_to_read(std::string_view text) {
  return parse_into(text, boost::json::make_shared_resource<boost::json::monotonic_resource>(2 * text.size()));
}

Result<Object> parse_object(std::string_view text) {
  LATHE_TRY(auto value, parse(text));
  if (!value.is_object()) return fail(Code::invalid, fmt::format("expected a JSON object, not {}", kind_name(value)));
  return std::move(value.get_object());
}

void append(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  for (std::size_t at = 0; at < text.size();) {
    const auto plain = at;
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x20 && text[at] != '"' && text[at] != '\\') ++at;
    out.append(text, plain, at - plain);
    if (at == text.size()) break;
    const char c = text[at++];
    out.push_back('\\');
    switch (c) {
      case '"':
      case '\\': out.push_back(c); break;
      case '\b': out.push_back('b'); break;
      case '\f': out.push_back('f'); break;
      case '\n': out.push_back('n'); break;
      case '\r': out.push_back('r'); break;
      case '\t': out.push_back('t'); break;
      default: out.append("u00").append(1, kHex[static_cast<unsigned char>(c) >> 4]).append(1, kHex[c & 15]);
    }
  }
  out.push_back('"');
}

void append(std::string& out, std::int64_t number) {
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, number);
  out.append(digits, end);
}

void append(std::string& out, double number) {
  if (std::isnan(number)) {
    out += "\"NaN\"";
  } else if (std::isinf(number)) {
    out += number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  } else {
    char digits[32];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, number);
    const std::string_view text(digits, static_cast<std::size_t>(end - digits));
    out += text;
    if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
  }
}

std::string print(const Value& value) {
  std::string out;
  print_to(out, value);
  return out;
}

std::string pretty(const Value& value) {
  std::string out;
  pretty_to(out, value, 0);
  return out;
}

std::string_view kind_name(const Value& value) {
  switch (value.kind()) {
    case boost::json::kind::null: return "null";
    case boost::json::kind::bool_: return "true or false";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
    case boost::json::kind::double_: return "a number";
    case boost::json::kind::string: return "a string";
    case boost::json::kind::array: return "a list";
    case boost::json::kind::object: return "an object";
  }
  return "something else";
}

const Value* find(const Object& object, std::string_view key) {
  const auto* value = object.if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::optional<std::string>> get_string(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return fail(wrong_type(key, "a string", *value));
  return std::string(view(value->get_string()));
}

Result<std::optional<std::int64_t>> get_int(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (value->is_double()) {
    const double number = value->get_double();
    if (std::trunc(number) == number && std::abs(number) < 9.2e18) return static_cast<std::int64_t>(number);
  }
  if (value->is_string()) {
    const auto text = view(value->get_string());
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size() && !text.empty()) return number;
  }
  return fail(Code::invalid, fmt::format("\"{}\" must be a whole number, not {}", key, print(*value)));
}

Result<std::optional<double>> get_double(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_double()) return value->get_double();
  if (value->is_int64()) return static_cast<double>(value->get_int64());
  if (value->is_uint64()) return static_cast<double>(value->get_uint64());
  if (value->is_string()) {
    const auto text = view(value->get_string());
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size() && !text.empty()) return number;
  }
  return fail(wrong_type(key, "a number", *value));
}

Result<std::optional<bool>> get_bool(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  return fail(wrong_type(key, "true or false", *value));
}

Result<const Object*> get_object(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return static_cast<const Object*>(nullptr);
  if (!value->is_object()) return fail(wrong_type(key, "an object", *value));
  return &value->get_object();
}

Result<const Array*> get_array(const Object& object, std::string_view key) {
  const auto* value = find(object, key);
  if (value == nullptr) return static_cast<const Array*>(nullptr);
  if (!value->is_array()) return fail(wrong_type(key, "a list", *value));
  return &value->get_array();
}

Result<std::string> need_string(const Object& object, std::string_view key) {
  LATHE_TRY(auto text, get_string(object, key));
  if (!text) return fail(Code::invalid, fmt::format("\"{}\" is missing", key));
  return std::move(*text);
}

}  // namespace lathe::json
