#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lathe {

/// "lt1.SECONDS.MAC": a token for `purpose` that holds until `ends_s` (since 1970), signed with HMAC-SHA256 (RFC 2104).
/// Whoever has `key` can make and check it.
std::string make_timed_token(std::string_view key, std::string_view purpose, std::int64_t ends_s);

enum class TimedToken : std::uint8_t { good, ended, wrong };

/// In a time that does not depend on where a signature differs. `ended`: it is signed, but its time is over. One that
/// would hold for longer than `longest_s` is wrong.
TimedToken check_timed_token(std::string_view token, std::string_view key, std::string_view purpose, std::int64_t now_s,
                             std::int64_t longest_s);

/// Whether the text has the form of one.
bool is_timed_token(std::string_view text);

}  // namespace lathe
