#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

/// Reading models that are JSON. Errors: `invalid`, naming the place.
namespace lathe::infer {

using simdjson::dom::element;

/// What is at a JSON pointer: "/learner/objective/name".
inline Result<element> member(element object, std::string_view path) {
  element found;
  if (object.at_pointer(path).get(found) != simdjson::SUCCESS)
    return fail(Code::invalid, "the model has no " + std::string(path));
  return found;
}

inline bool has(element object, std::string_view path) {
  return object.at_pointer(path).error() == simdjson::SUCCESS;
}

inline Result<std::string_view> text(element object, std::string_view path) {
  LATHE_TRY(const element found, member(object, path));
  std::string_view out;
  if (found.get(out) != simdjson::SUCCESS) return fail(Code::invalid, std::string(path) + " is not a text");
  return out;
}

inline Result<simdjson::dom::array> list(element object, std::string_view path) {
  LATHE_TRY(const element found, member(object, path));
  simdjson::dom::array out;
  if (found.get(out) != simdjson::SUCCESS) return fail(Code::invalid, std::string(path) + " is not a list");
  return out;
}

/// A list of numbers; true and false are 1 and 0 among whole ones.
template <class T>
Result<std::vector<T>> numbers(element object, std::string_view path) {
  LATHE_TRY(const auto items, list(object, path));
  std::vector<T> out;
  out.reserve(items.size());
  for (const element item : items) {
    if constexpr (std::is_floating_point_v<T>) {
      double value = 0;
      if (item.get(value) != simdjson::SUCCESS) return fail(Code::invalid, std::string(path) + " holds no numbers");
      out.push_back(static_cast<T>(value));
    } else {
      std::int64_t value = 0;
      bool truth = false;
      if (item.get(truth) == simdjson::SUCCESS)
        value = truth ? 1 : 0;
      else if (item.get(value) != simdjson::SUCCESS)
        return fail(Code::invalid, std::string(path) + " holds no whole numbers");
      out.push_back(static_cast<T>(value));
    }
  }
  return out;
}

}  // namespace lathe::infer
