#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// JSON written straight into a text, as `print` writes it: for answers too large to be built of values first.
namespace lathe::json {

void append(std::string& out, std::string_view text);
void append(std::string& out, std::int64_t number);
/// The shortest form that reads back the same; NaN and infinities in protobuf's spelling, as texts.
void append(std::string& out, double number);

}  // namespace lathe::json
