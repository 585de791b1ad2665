#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lathe {

/// Two lower-case digits for each byte.
std::string to_hex(std::string_view bytes);
/// The bytes; nullopt: not hex.
std::optional<std::string> from_hex(std::string_view text);

}  // namespace lathe
