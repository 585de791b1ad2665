#pragma once

#include <map>
#include <tuple>
#include <type_traits>

#include "json/json.h"

/// The wire form of a struct is declared once, beside the struct, as a list of its fields:
///
///     struct Token { std::string name; std::optional<std::int64_t> expires_us; };
///     template <> struct json::Fields<Token> {
///       static constexpr std::string_view name = "Token";
///       static constexpr auto list = std::tuple{
///           json::field("name", &Token::name, "what the token is for"),
///           json::field("expires_us", &Token::expires_us, "absent: never")};
///     };
///
/// From it follow `to_json`, `from_json` and `schema`, so that they cannot disagree. Types: bool, integers, double,
/// std::string, std::optional, std::vector, std::map<std::string, T>, json::Value (anything) and other structs with
/// fields. An optional that is empty is left out.
namespace lathe::json {

template <class T>
struct Fields;

template <class S, class M>
struct Field {
  std::string_view name;
  M S::*member;
  std::string_view doc;
};

template <class S, class M>
constexpr Field<S, M> field(std::string_view name, M S::*member, std::string_view doc = {}) {
  return {name, member, doc};
}

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class T>
struct is_map<std::map<std::string, T>> : std::true_type {};

template <class T>
Value to_json(const T& value) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, double> || std::is_same_v<T, Value>) {
    return Value(value);
  } else if constexpr (std::is_integral_v<T>) {
    return Value(static_cast<std::int64_t>(value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    return Value(boost::json::string_view(value));
  } else if constexpr (is_optional<T>::value) {
    return value ? to_json(*value) : Value(nullptr);
  } else if constexpr (is_vector<T>::value) {
    Array out;
    for (const auto& item : value) out.push_back(to_json(item));
    return Value(std::move(out));
  } else if constexpr (is_map<T>::value) {
    Object out;
    for (const auto& [key, item] : value) out[key] = to_json(item);
    return Value(std::move(out));
  } else {
    Object out;
    std::apply(
        [&](const auto&... fields) {
          const auto put = [&](const auto& f) {
            const auto& member = value.*(f.member);
            if constexpr (is_optional<std::decay_t<decltype(member)>>::value) {
              if (!member) return;
            }
            out[boost::json::string_view(f.name.data(), f.name.size())] = to_json(member);
          };
          (put(fields), ...);
        },
        Fields<T>::list);
    return Value(std::move(out));
  }
}

/// Reads `value` into a T. Unknown members are errors, absent optionals are empty, other absent members keep the
/// struct's default only when `T` has one that is not required: everything that is not optional must be there.
/// Errors: `invalid`, naming the member's path: `tags.owner must be a string, not a number`.
template <class T>
Result<T> from_json(const Value& value, const std::string& path = "the document") {
  const auto wrong = [&](std::string_view expected) {
    return fail(Code::invalid, path + " must be " + std::string(expected) + ", not " + std::string(kind_name(value)));
  };
  if constexpr (std::is_same_v<T, Value>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_bool()) return wrong("true or false");
    return value.get_bool();
  } else if constexpr (std::is_same_v<T, double>) {
    if (value.is_int64()) return static_cast<double>(value.get_int64());
    if (!value.is_double()) return wrong("a number");
    return value.get_double();
  } else if constexpr (std::is_integral_v<T>) {
    if (!value.is_int64()) return wrong("a whole number");
    return static_cast<T>(value.get_int64());
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) return wrong("a string");
    return std::string(view(value.get_string()));
  } else if constexpr (is_optional<T>::value) {
    if (value.is_null()) return T{};
    LATHE_TRY(auto inner, from_json<typename T::value_type>(value, path));
    return T{std::move(inner)};
  } else if constexpr (is_vector<T>::value) {
    if (!value.is_array()) return wrong("a list");
    T out;
    for (const auto& item : value.get_array()) {
      LATHE_TRY(auto read, from_json<typename T::value_type>(item, path + "[" + std::to_string(out.size()) + "]"));
      out.push_back(std::move(read));
    }
    return out;
  } else if constexpr (is_map<T>::value) {
    if (!value.is_object()) return wrong("an object");
    T out;
    for (const auto& member : value.get_object()) {
      const std::string key(member.key().data(), member.key().size());
      LATHE_TRY(auto read, from_json<typename T::mapped_type>(member.value(), path + "." + key));
      out.emplace(key, std::move(read));
    }
    return out;
  } else {
    if (!value.is_object()) return wrong("an object");
    const auto& object = value.get_object();
    const std::string prefix = path == "the document" ? "" : path + ".";
    T out{};
    std::string error;
    std::size_t known = 0;
    std::apply(
        [&](const auto&... fields) {
          const auto take = [&](const auto& f) {
            if (!error.empty()) return;
            using M = std::decay_t<decltype(out.*(f.member))>;
            const auto* member = object.if_contains(boost::json::string_view(f.name.data(), f.name.size()));
            if (member == nullptr) {
              if constexpr (!is_optional<M>::value && !is_vector<M>::value && !is_map<M>::value)
                error = prefix + std::string(f.name) + " is missing";
              return;
            }
            ++known;
            auto read = from_json<M>(*member, prefix + std::string(f.name));
            if (read) out.*(f.member) = std::move(*read);
            else error = read.error().message;
          };
          (take(fields), ...);
        },
        Fields<T>::list);
    if (!error.empty()) return fail(Code::invalid, error);
    if (known < object.size()) {
      for (const auto& member : object) {
        const std::string_view key(member.key().data(), member.key().size());
        const bool listed = std::apply([&](const auto&... f) { return ((f.name == key) || ...); }, Fields<T>::list);
        if (!listed) return fail(Code::invalid, "unknown field \"" + prefix + std::string(key) + "\"");
      }
    }
    return out;
  }
}

/// JSON Schema (2020-12, as OpenAPI 3.1 uses it). Structs go to `components` by name and are referred to.
template <class T>
Value schema(Object& components) {
  if constexpr (std::is_same_v<T, Value>) {
    return Object{};
  } else if constexpr (std::is_same_v<T, bool>) {
    return Object{{"type", "boolean"}};
  } else if constexpr (std::is_same_v<T, double>) {
    return Object{{"type", "number"}};
  } else if constexpr (std::is_integral_v<T>) {
    return Object{{"type", "integer"}};
  } else if constexpr (std::is_same_v<T, std::string>) {
    return Object{{"type", "string"}};
  } else if constexpr (is_optional<T>::value) {
    return schema<typename T::value_type>(components);
  } else if constexpr (is_vector<T>::value) {
    auto items = schema<typename T::value_type>(components);
    if constexpr (is_optional<typename T::value_type>::value)
      items = Object{{"anyOf", Array{std::move(items), Object{{"type", "null"}}}}};  // here an empty one has its place
    return Object{{"type", "array"}, {"items", std::move(items)}};
  } else if constexpr (is_map<T>::value) {
    return Object{{"type", "object"}, {"additionalProperties", schema<typename T::mapped_type>(components)}};
  } else {
    const boost::json::string_view name(Fields<T>::name.data(), Fields<T>::name.size());
    if (!components.contains(name)) {
      components[name] = Object{};  // first, so that a struct may hold itself
      Object properties;
      Array required;
      std::apply(
          [&](const auto&... fields) {
            const auto put = [&](const auto& f) {
              using M = std::decay_t<decltype(std::declval<T>().*(f.member))>;
              const boost::json::string_view key(f.name.data(), f.name.size());
              Value member = schema<M>(components);
              if (!f.doc.empty()) member.as_object()["description"] = boost::json::string_view(f.doc.data(), f.doc.size());
              properties[key] = std::move(member);
              if constexpr (!is_optional<M>::value) required.emplace_back(key);
            };
            (put(fields), ...);
          },
          Fields<T>::list);
      components[name] = Object{{"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
    }
    return Object{{"$ref", "#/components/schemas/" + std::string(Fields<T>::name)}};
  }
}

}  // namespace lathe::json
