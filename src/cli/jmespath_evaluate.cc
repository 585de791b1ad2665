#include <algorithm>

#include "cli/jmespath_node.h"

namespace lathe::cli {
namespace {

using Node = JmesPath::Node;
using json::Value;

const Value kNull = nullptr;

/// As Python slices.
Value sliced(const json::Array& list, const Node& node) {
  const auto size = static_cast<std::int64_t>(list.size());
  const auto step = node.slice[2].value_or(1);
  const auto clamp = [&](std::int64_t at) {
    if (at < 0) at += size;
    return step > 0 ? std::clamp<std::int64_t>(at, 0, size) : std::clamp<std::int64_t>(at, -1, size - 1);
  };
  const auto start = node.slice[0] ? clamp(*node.slice[0]) : step > 0 ? 0 : size - 1;
  const auto stop = node.slice[1] ? clamp(*node.slice[1]) : step > 0 ? size : -1;
  json::Array out;
  if (step > 0) {
    for (auto i = start; i<stop; i = step> size - i ? size : i + step) out.push_back(list[static_cast<std::size_t>(i)]);
  } else {
    for (auto i = start; i > stop; i = step < -1 - i ? -1 : i + step) out.push_back(list[static_cast<std::size_t>(i)]);
  }
  return out;
}

Value flattened(const json::Array& list) {
  json::Array out;
  for (const auto& item : list) {
    if (!item.is_array())
      out.push_back(item);
    else
      for (const auto& inner : item.get_array()) out.push_back(inner);
  }
  return out;
}

Value compared(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return jmes_equal(a, b);
  if (op == "!=") return !jmes_equal(a, b);
  const auto left = jmes_number(a);
  const auto right = jmes_number(b);
  if (!left || !right) return nullptr;
  if (op == "<") return *left < *right;
  if (op == "<=") return *left <= *right;
  if (op == ">") return *left > *right;
  return *left >= *right;
}

/// The right side on each item; what gives null is left out.
template <class Items, class Get>
Result<Value> projected(const Node& node, const Items& items, Get get) {
  json::Array out;
  for (const auto& item : items) {
    const Value& value = get(item);
    if (node.kind == JmesKind::filter_projection) {
      LATHE_TRY(const auto condition, jmes_evaluate(*node.children[2], value));
      if (!jmes_truth(condition)) continue;
    }
    LATHE_TRY(auto result, jmes_evaluate(*node.children[1], value));
    if (!result.is_null()) out.push_back(std::move(result));
  }
  return Value(std::move(out));
}

Result<Value> projection(const Node& node, const Value& value) {
  LATHE_TRY(const auto base, jmes_evaluate(*node.children[0], value));
  if (node.kind == JmesKind::object_projection) {
    if (!base.is_object()) return kNull;
    return projected(node, base.get_object(), [](const auto& member) -> const Value& { return member.value(); });
  }
  if (!base.is_array()) return kNull;
  return projected(node, base.get_array(), [](const Value& item) -> const Value& { return item; });
}

}  // namespace

bool jmes_truth(const Value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return false;
    case boost::json::kind::bool_:
      return value.get_bool();
    case boost::json::kind::string:
      return !value.get_string().empty();
    case boost::json::kind::array:
      return !value.get_array().empty();
    case boost::json::kind::object:
      return !value.get_object().empty();
    default:
      return true;
  }
}

std::optional<double> jmes_number(const Value& value) {
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  if (value.is_double()) return value.get_double();
  return std::nullopt;
}

bool jmes_equal(const Value& a, const Value& b) {
  if (a.is_int64() && b.is_int64()) return a.get_int64() == b.get_int64();
  if (const auto left = jmes_number(a)) return left == jmes_number(b);
  if (a.kind() != b.kind()) return false;
  if (const auto* list = a.if_array())
    return std::equal(list->begin(), list->end(), b.get_array().begin(), b.get_array().end(), jmes_equal);
  if (const auto* object = a.if_object()) {
    if (object->size() != b.get_object().size()) return false;
    return std::all_of(object->begin(), object->end(), [&](const auto& member) {
      const auto* other = b.get_object().if_contains(member.key());
      return other != nullptr && jmes_equal(member.value(), *other);
    });
  }
  return a == b;
}

Result<Value> jmes_evaluate(const Node& node, const Value& value) {
  switch (node.kind) {
    case JmesKind::identity:
      return value;
    case JmesKind::literal:
      return node.value;
    case JmesKind::field: {
      const auto* object = value.if_object();
      const auto* member = object != nullptr ? object->if_contains(node.text) : nullptr;
      return member != nullptr ? *member : kNull;
    }
    case JmesKind::index: {
      const auto* list = value.if_array();
      if (list == nullptr) return kNull;
      const auto size = static_cast<std::int64_t>(list->size());
      const auto at = node.number < 0 ? node.number + size : node.number;
      return at >= 0 && at < size ? (*list)[static_cast<std::size_t>(at)] : kNull;
    }
    case JmesKind::slice:
      return value.is_array() ? sliced(value.get_array(), node) : kNull;
    case JmesKind::sequence: {
      LATHE_TRY(const auto left, jmes_evaluate(*node.children[0], value));
      return jmes_evaluate(*node.children[1], left);
    }
    case JmesKind::list_projection:
    case JmesKind::object_projection:
    case JmesKind::filter_projection:
      return projection(node, value);
    case JmesKind::flatten: {
      LATHE_TRY(const auto base, jmes_evaluate(*node.children[0], value));
      return base.is_array() ? flattened(base.get_array()) : kNull;
    }
    case JmesKind::comparison: {
      LATHE_TRY(const auto left, jmes_evaluate(*node.children[0], value));
      LATHE_TRY(const auto right, jmes_evaluate(*node.children[1], value));
      return compared(node.text, left, right);
    }
    case JmesKind::both:
    case JmesKind::either: {
      LATHE_TRY(auto left, jmes_evaluate(*node.children[0], value));
      if (jmes_truth(left) == (node.kind == JmesKind::either)) return left;
      return jmes_evaluate(*node.children[1], value);
    }
    case JmesKind::negation: {
      LATHE_TRY(const auto inner, jmes_evaluate(*node.children[0], value));
      return Value(!jmes_truth(inner));
    }
    case JmesKind::list: {
      if (value.is_null()) return kNull;
      json::Array out;
      for (const auto& child : node.children) {
        LATHE_TRY(auto item, jmes_evaluate(*child, value));
        out.push_back(std::move(item));
      }
      return Value(std::move(out));
    }
    case JmesKind::object: {
      if (value.is_null()) return kNull;
      json::Object out;
      for (std::size_t i = 0; i < node.children.size(); ++i) {
        LATHE_TRY(auto item, jmes_evaluate(*node.children[i], value));
        out[node.names[i]] = std::move(item);
      }
      return Value(std::move(out));
    }
    case JmesKind::function:
      return jmes_call(node, value);
    case JmesKind::reference:
      return jmes_fail(node.column, "& may only stand before an argument of a function");
  }
  return kNull;
}

}  // namespace lathe::cli
