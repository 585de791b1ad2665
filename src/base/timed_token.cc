#include "base/timed_token.h"

#include <openssl/evp.h>

#include <array>
#include <charconv>
#include <memory>

#include "base/hex.h"

namespace lathe {
namespace {

constexpr std::string_view kBegin = "lt2.";
constexpr std::size_t kNameBytes = 8;
constexpr std::size_t kSignatureBytes = 64;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Key private_half(std::string_view key) {
  return {EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, bytes(key), key.size()), EVP_PKEY_free};
}

Result<std::string> public_half(const Key& key) {
  std::string out(kSigningKeyBytes, '\0');
  auto size = out.size();
  if (!key || EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(out.data()), &size) != 1 ||
      size != out.size())
    return fail(Code::internal, "a key that signs tokens cannot be read");
  return out;
}

/// What is signed. No purpose begins like a time, and no time has a line's end.
std::string signed_text(std::int64_t ends_s, std::string_view purpose) {
  return std::string(kBegin) + std::to_string(ends_s) + '\n' + std::string(purpose);
}

}  // namespace

Result<std::string> public_key_of(std::string_view private_key) {
  return public_half(private_half(private_key));
}

Result<std::string> make_timed_token(std::string_view private_key, std::string_view purpose, std::int64_t ends_s) {
  const auto key = private_half(private_key);
  LATHE_TRY(const auto own, public_half(key));
  const Context context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto text = signed_text(ends_s, purpose);
  std::array<unsigned char, kSignatureBytes> signature{};
  auto size = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &size, bytes(text), text.size()) != 1)
    return fail(Code::internal, "a token cannot be signed");
  return std::string(kBegin) + std::to_string(ends_s) + '.' + to_hex(own.substr(0, kNameBytes)) + '.' +
         to_hex({reinterpret_cast<const char*>(signature.data()), size});
}

std::optional<TimedToken> read_timed_token(std::string_view text) {
  TimedToken out;
  if (!text.starts_with(kBegin)) return std::nullopt;
  text.remove_prefix(kBegin.size());
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.ends_s);
  const std::string_view digits = text.substr(0, static_cast<std::size_t>(end - text.data()));
  // As we write it, and in no other way: one token has one text.
  if (error != std::errc{} || out.ends_s < 0 || digits != std::to_string(out.ends_s)) return std::nullopt;
  text.remove_prefix(digits.size());
  if (text.size() != 2 + 2 * (kNameBytes + kSignatureBytes) || text[0] != '.' || text[1 + 2 * kNameBytes] != '.')
    return std::nullopt;
  const auto hex = std::string(text.substr(1, 2 * kNameBytes)) + std::string(text.substr(2 + 2 * kNameBytes));
  auto both = from_hex(hex);
  if (!both || to_hex(*both) != hex) return std::nullopt;
  out.key = both->substr(0, kNameBytes);
  out.signature = both->substr(kNameBytes);
  return out;
}

bool is_signed_by(const TimedToken& token, std::string_view public_key, std::string_view purpose) {
  const Key key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes(public_key), public_key.size()),
                EVP_PKEY_free);
  const Context context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto text = signed_text(token.ends_s, purpose);
  return key && context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), bytes(token.signature), token.signature.size(), bytes(text), text.size()) == 1;
}

}  // namespace lathe
