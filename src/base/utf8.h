#pragma once

#include <string>
#include <string_view>

namespace lathe {

/// Whether JSON can hold the text: well-formed UTF-8, without overlong forms and halves of surrogate pairs.
bool is_utf8(std::string_view text);

/// The longest beginning of `bytes` that does not end within a character, with U+FFFD for what is not UTF-8; it is taken
/// away from `bytes`. `all`: nothing follows, take everything.
std::string take_utf8(std::string& bytes, bool all);

/// The text, with U+FFFD for what is not UTF-8.
std::string as_utf8(std::string text);

}  // namespace lathe
