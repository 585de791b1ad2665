#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

/// Tokens that end by themselves: "lt2.SECONDS.KEY.SIGNATURE", signed with Ed25519 (RFC 8032), so that who checks them
/// cannot make them. KEY is how the public key begins; all but the time is hex.
namespace lathe {

constexpr std::size_t kSigningKeyBytes = 32;  ///< of a private key, and of the public one

/// The public key that belongs to a private one. Errors: `internal`.
Result<std::string> public_key_of(std::string_view private_key);

/// A token for `purpose` that holds until `ends_s` (since 1970). The same always makes the same. Errors: `internal`.
Result<std::string> make_timed_token(std::string_view private_key, std::string_view purpose, std::int64_t ends_s);

/// What a token says of itself.
struct TimedToken {
  std::int64_t ends_s = 0;  ///< since 1970, never below 0
  std::string key;          ///< the first 8 bytes of the public key
  std::string signature;

  /// Whether it names this public key: no more than a reason to look at the signature.
  bool names(std::string_view public_key) const { return public_key.substr(0, key.size()) == key; }
};

/// Nothing where the text does not have the form of one. Looks at no signature.
std::optional<TimedToken> read_timed_token(std::string_view text);

/// Whether the public key's owner made it for this purpose. Takes 100 to 200 us.
bool is_signed_by(const TimedToken& token, std::string_view public_key, std::string_view purpose);

}  // namespace lathe
