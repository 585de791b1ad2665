#pragma once

#include <string_view>

namespace lathe {

/// Whether JSON can hold the text: well-formed UTF-8, without overlong forms and halves of surrogate pairs.
bool is_utf8(std::string_view text);

}  // namespace lathe
