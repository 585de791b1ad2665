#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// JSON documents, and the wire form of our own structs (fields.h).
namespace lathe::json {

using Value = boost::json::value;
using Object = boost::json::object;
using Array = boost::json::array;

/// Parses one document. NaN and infinities are refused, depth is limited to 64.
/// Errors: `invalid` with line and column: `line 3, column 7: expected ...`.
Result<Value> parse(std::string_view text);

/// As `parse`, but the document must be an object.
Result<Object> parse_object(std::string_view text);

/// Compact, one line. Doubles are printed so that they read back the same.
std::string print(const Value& value);

/// Indented by two, keys in their order, for people.
std::string pretty(const Value& value);

/// "a string", "a number", "an object"...: for error messages.
std::string_view kind_name(const Value& value);

/// The member, or null when it is absent or JSON null.
const Value* find(const Object& object, std::string_view key);

/// Typed reads of a member. Absent or null gives nullopt; another type is `invalid`, naming `key`.
Result<std::optional<std::string>> get_string(const Object& object, std::string_view key);
/// Takes whole doubles (3.0) and decimal strings too, as protobuf's JSON does.
Result<std::optional<std::int64_t>> get_int(const Object& object, std::string_view key);
/// Takes "NaN", "Infinity" and "-Infinity" too, as protobuf's JSON does.
Result<std::optional<double>> get_double(const Object& object, std::string_view key);
Result<std::optional<bool>> get_bool(const Object& object, std::string_view key);
/// The member as an object or array; absent gives nullptr.
Result<const Object*> get_object(const Object& object, std::string_view key);
Result<const Array*> get_array(const Object& object, std::string_view key);

/// As above, but absent is `invalid` too: `"name" is missing`.
Result<std::string> need_string(const Object& object, std::string_view key);

/// A text view of a JSON string value (Boost's own string_view is another type).
inline std::string_view view(const boost::json::string& text) { return {text.data(), text.size()}; }

}  // namespace lathe::json
