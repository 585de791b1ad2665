#include "base/timed_token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>
#include <optional>

#include "base/digest.h"
#include "base/hex.h"

namespace lathe {
namespace {

constexpr std::string_view kBegin = "lt1.";
constexpr std::size_t kMacDigits = 64;

/// 64 hex digits.
std::string mac_of(std::string_view key, std::string_view purpose, std::string_view ends) {
  const auto text = std::string(kBegin) + std::string(ends) + '\n' + std::string(purpose);
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), raw.data(), &size);
  return to_hex({reinterpret_cast<const char*>(raw.data()), size});
}

struct Parts {
  std::string_view ends;
  std::int64_t ends_s = 0;
  std::string_view mac;
};

std::optional<Parts> parts_of(std::string_view token) {
  if (!token.starts_with(kBegin)) return std::nullopt;
  token.remove_prefix(kBegin.size());
  const auto dot = token.find('.');
  if (dot == std::string_view::npos || token.size() - dot - 1 != kMacDigits) return std::nullopt;
  Parts out{token.substr(0, dot), 0, token.substr(dot + 1)};
  const auto* const end = out.ends.data() + out.ends.size();
  const auto [stopped, error] = std::from_chars(out.ends.data(), end, out.ends_s);
  if (error != std::errc{} || stopped != end || out.ends_s < 0) return std::nullopt;
  return out;
}

}  // namespace

std::string make_timed_token(std::string_view key, std::string_view purpose, std::int64_t ends_s) {
  const auto ends = std::to_string(ends_s);
  return std::string(kBegin) + ends + '.' + mac_of(key, purpose, ends);
}

TimedToken check_timed_token(std::string_view token, std::string_view key, std::string_view purpose, std::int64_t now_s,
                             std::int64_t longest_s) {
  const auto parts = parts_of(token);
  if (!parts || !equal_secrets(parts->mac, mac_of(key, purpose, parts->ends))) return TimedToken::wrong;
  if (parts->ends_s > now_s && parts->ends_s - now_s > longest_s) return TimedToken::wrong;
  return parts->ends_s > now_s ? TimedToken::good : TimedToken::ended;
}

bool is_timed_token(std::string_view text) {
  return parts_of(text).has_value();
}

}  // namespace lathe
