#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "cli/jmespath_node.h"

namespace lathe::cli {
namespace {

using Node = JmesPath::Node;
using json::Array;
using json::Value;

/// One evaluated argument; `reference` for &expression.
struct Argument {
  Value value;
  const Node* reference = nullptr;
};
using Arguments = std::vector<Argument>;

/// What a parameter takes, a letter each: n number, s string, a array, o object, b boolean, N array of numbers,
/// S array of strings, e expression, * anything.
struct Function {
  std::string_view name;
  std::vector<std::string_view> parameters;
  bool variadic;  ///< the last parameter may be repeated
  Result<Value> (*run)(const Node& call, const Arguments& arguments);
};

std::string_view type_name(const Value& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "boolean";
  if (value.is_string()) return "string";
  if (value.is_array()) return "array";
  return value.is_object() ? "object" : "number";
}

bool all_of_type(const Array& list, std::string_view type) {
  return std::all_of(list.begin(), list.end(), [&](const Value& item) { return type_name(item) == type; });
}

bool fits(char wanted, const Argument& argument) {
  const auto& value = argument.value;
  if (argument.reference != nullptr) return wanted == 'e';
  switch (wanted) {
    case 'n':
      return jmes_number(value).has_value();
    case 's':
      return value.is_string();
    case 'a':
      return value.is_array();
    case 'o':
      return value.is_object();
    case 'N':
      return value.is_array() && all_of_type(value.get_array(), "number");
    case 'S':
      return value.is_array() && all_of_type(value.get_array(), "string");
    case 'e':
      return false;
    default:
      return true;
  }
}

std::string wanted_text(std::string_view letters) {
  std::vector<std::string_view> words;
  for (const char c : letters)
    words.push_back(c == 'n'   ? "a number"
                    : c == 's' ? "a string"
                    : c == 'a' ? "an array"
                    : c == 'o' ? "an object"
                    : c == 'N' ? "an array of numbers"
                    : c == 'S' ? "an array of strings"
                               : "an &expression");
  return fmt::format("{}", fmt::join(words, " or "));
}

std::string_view text_of(const Argument& argument) {
  return json::view(argument.value.get_string());
}
Value text_value(std::string_view text) {
  return Value(boost::json::string_view(text.data(), text.size()));
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

Value reversed_text(std::string_view text) {
  std::string out;
  for (auto end = text.size(); end > 0;) {
    auto start = end - 1;
    while (start > 0 && is_continuation(text[start])) --start;
    out += text.substr(start, end - start);
    end = start;
  }
  return text_value(out);
}

/// Numbers before or after each other, or strings; the caller made sure that both are of one kind.
bool less(const Value& a, const Value& b) {
  if (a.is_string()) return json::view(a.get_string()) < json::view(b.get_string());
  return *jmes_number(a) < *jmes_number(b);
}

/// The keys that &expression gives for the items, all numbers or all strings.
Result<std::vector<std::pair<Value, Value>>> keyed(const Node& call, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> out;
  for (const auto& item : arguments[0].value.get_array()) {
    LATHE_TRY(auto key, jmes_evaluate(*arguments[1].reference, item));
    if (type_name(key) != "number" && type_name(key) != "string")
      return jmes_fail(call.column, fmt::format("{}: the expression must give numbers or strings, not {}", call.text,
                                                type_name(key)));
    if (!out.empty() && type_name(out[0].first) != type_name(key))
      return jmes_fail(call.column,
                       fmt::format("{}: the expression must give numbers only or strings only", call.text));
    out.emplace_back(std::move(key), item);
  }
  return out;
}

Result<Value> most_by(const Node& call, const Arguments& arguments, bool largest) {
  LATHE_TRY(const auto items, keyed(call, arguments));
  if (items.empty()) return Value(nullptr);
  const auto* best = &items[0];
  for (const auto& item : items)
    if (largest ? less(best->first, item.first) : less(item.first, best->first)) best = &item;
  return best->second;
}

Result<Value> most(const Arguments& arguments, bool largest) {
  const auto& list = arguments[0].value.get_array();
  if (list.empty()) return Value(nullptr);
  return largest ? *std::max_element(list.begin(), list.end(), less)
                 : *std::min_element(list.begin(), list.end(), less);
}

Value sum_of(const Array& list) {
  std::int64_t whole = 0;
  double all = 0;
  bool exact = true;
  for (const auto& item : list) {
    all += *jmes_number(item);
    exact = exact && item.is_int64() && !__builtin_add_overflow(whole, item.get_int64(), &whole);
  }
  return exact ? Value(whole) : Value(all);
}

Value rounded(const Value& value, double (*round)(double)) {
  if (!value.is_double()) return value;
  const double result = round(value.get_double());
  return std::abs(result) < 9e15 ? Value(static_cast<std::int64_t>(result)) : Value(result);
}

Value as_number(const Value& value) {
  if (jmes_number(value)) return value;
  if (!value.is_string()) return nullptr;
  const auto parsed = json::parse(json::view(value.get_string()));
  return parsed && jmes_number(*parsed) ? *parsed : Value(nullptr);
}

const std::vector<Function>& functions() {
  using A = const Arguments&;
  using C = const Node&;
  using R = Result<Value>;
  static const std::vector<Function> kFunctions{
      {"abs",
       {"n"},
       false,
       [](C, A a) -> R {
         if (a[0].value.is_int64()) return Value(std::abs(a[0].value.get_int64()));
         return a[0].value.is_double() ? Value(std::abs(a[0].value.get_double())) : a[0].value;
       }},
      {"avg",
       {"N"},
       false,
       [](C, A a) -> R {
         const auto& list = a[0].value.get_array();
         if (list.empty()) return Value(nullptr);
         return Value(*jmes_number(sum_of(list)) / static_cast<double>(list.size()));
       }},
      {"ceil", {"n"}, false, [](C, A a) -> R { return rounded(a[0].value, std::ceil); }},
      {"contains",
       {"as", "*"},
       false,
       [](C, A a) -> R {
         if (const auto* list = a[0].value.if_array())
           return Value(std::any_of(list->begin(), list->end(),
                                    [&](const Value& item) { return jmes_equal(item, a[1].value); }));
         return Value(a[1].value.is_string() && text_of(a[0]).find(text_of(a[1])) != std::string_view::npos);
       }},
      {"ends_with", {"s", "s"}, false, [](C, A a) -> R { return Value(text_of(a[0]).ends_with(text_of(a[1]))); }},
      {"floor", {"n"}, false, [](C, A a) -> R { return rounded(a[0].value, std::floor); }},
      {"join",
       {"s", "S"},
       false,
       [](C, A a) -> R {
         std::vector<std::string_view> parts;
         for (const auto& item : a[1].value.get_array()) parts.push_back(json::view(item.get_string()));
         return text_value(fmt::format("{}", fmt::join(parts, text_of(a[0]))));
       }},
      {"keys",
       {"o"},
       false,
       [](C, A a) -> R {
         Array out;
         for (const auto& member : a[0].value.get_object()) out.push_back(Value(member.key()));
         return Value(std::move(out));
       }},
      {"length",
       {"sao"},
       false,
       [](C, A a) -> R {
         const auto& value = a[0].value;
         if (value.is_array()) return Value(static_cast<std::int64_t>(value.get_array().size()));
         if (value.is_object()) return Value(static_cast<std::int64_t>(value.get_object().size()));
         const auto text = text_of(a[0]);
         return Value(static_cast<std::int64_t>(text.size()) -
                      std::count_if(text.begin(), text.end(), is_continuation));
       }},
      {"map",
       {"e", "a"},
       false,
       [](C, A a) -> R {
         Array out;
         for (const auto& item : a[1].value.get_array()) {
           LATHE_TRY(auto result, jmes_evaluate(*a[0].reference, item));
           out.push_back(std::move(result));
         }
         return Value(std::move(out));
       }},
      {"max", {"NS"}, false, [](C, A a) -> R { return most(a, true); }},
      {"max_by", {"a", "e"}, false, [](C c, A a) -> R { return most_by(c, a, true); }},
      {"merge",
       {"o"},
       true,
       [](C, A a) -> R {
         json::Object out;
         for (const auto& argument : a)
           for (const auto& member : argument.value.get_object()) out[member.key()] = member.value();
         return Value(std::move(out));
       }},
      {"min", {"NS"}, false, [](C, A a) -> R { return most(a, false); }},
      {"min_by", {"a", "e"}, false, [](C c, A a) -> R { return most_by(c, a, false); }},
      {"not_null",
       {"*"},
       true,
       [](C, A a) -> R {
         for (const auto& argument : a)
           if (!argument.value.is_null()) return argument.value;
         return Value(nullptr);
       }},
      {"reverse",
       {"as"},
       false,
       [](C, A a) -> R {
         if (a[0].value.is_string()) return reversed_text(text_of(a[0]));
         Array out = a[0].value.get_array();
         std::reverse(out.begin(), out.end());
         return Value(std::move(out));
       }},
      {"sort",
       {"NS"},
       false,
       [](C, A a) -> R {
         std::vector<Value> items(a[0].value.get_array().begin(), a[0].value.get_array().end());
         std::stable_sort(items.begin(), items.end(), less);
         return Value(Array(items.begin(), items.end()));
       }},
      {"sort_by",
       {"a", "e"},
       false,
       [](C c, A a) -> R {
         LATHE_TRY(auto items, keyed(c, a));
         std::stable_sort(items.begin(), items.end(),
                          [](const auto& x, const auto& y) { return less(x.first, y.first); });
         Array out;
         for (auto& item : items) out.push_back(std::move(item.second));
         return Value(std::move(out));
       }},
      {"starts_with", {"s", "s"}, false, [](C, A a) -> R { return Value(text_of(a[0]).starts_with(text_of(a[1]))); }},
      {"sum", {"N"}, false, [](C, A a) -> R { return sum_of(a[0].value.get_array()); }},
      {"to_array",
       {"*"},
       false,
       [](C, A a) -> R {
         if (a[0].value.is_array()) return a[0].value;
         Array out;
         out.push_back(a[0].value);
         return Value(std::move(out));
       }},
      {"to_number", {"*"}, false, [](C, A a) -> R { return as_number(a[0].value); }},
      {"to_string",
       {"*"},
       false,
       [](C, A a) -> R { return a[0].value.is_string() ? a[0].value : text_value(json::print(a[0].value)); }},
      {"type", {"*"}, false, [](C, A a) -> R { return text_value(type_name(a[0].value)); }},
      {"values",
       {"o"},
       false,
       [](C, A a) -> R {
         Array out;
         for (const auto& member : a[0].value.get_object()) out.push_back(member.value());
         return Value(std::move(out));
       }},
  };
  return kFunctions;
}

const Function* find_function(std::string_view name) {
  for (const auto& function : functions())
    if (function.name == name) return &function;
  return nullptr;
}

}  // namespace

Result<void> jmes_check_function(const Node& call) {
  const auto* function = find_function(call.text);
  if (function == nullptr) {
    std::vector<std::string> names;
    for (const auto& known : functions()) names.emplace_back(known.name);
    return jmes_fail(call.column, unknown_name("function", call.text, names));
  }
  const auto wanted = function->parameters.size();
  const auto got = call.children.size();
  if (got == wanted || (function->variadic && got > wanted)) return {};
  return jmes_fail(call.column,
                   fmt::format("{} takes {}{} argument{}, not {}", call.text, function->variadic ? "at least " : "",
                               wanted, wanted == 1 ? "" : "s", got));
}

Result<Value> jmes_call(const Node& call, const Value& value) {
  const auto& function = *find_function(call.text);
  Arguments arguments;
  for (const auto& child : call.children) {
    const auto wanted = function.parameters[std::min(arguments.size(), function.parameters.size() - 1)];
    Argument argument;
    if (child->kind == JmesKind::reference) {
      argument.reference = child->children[0].get();
    } else {
      LATHE_TRY(argument.value, jmes_evaluate(*child, value));
    }
    if (std::none_of(wanted.begin(), wanted.end(), [&](char c) { return fits(c, argument); }))
      return jmes_fail(child->column,
                       fmt::format("{} takes {} here, not {}", call.text, wanted_text(wanted),
                                   argument.reference != nullptr ? "an &expression" : type_name(argument.value)));
    arguments.push_back(std::move(argument));
  }
  return function.run(call, arguments);
}

}  // namespace lathe::cli
