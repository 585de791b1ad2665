#include "base/timed_token.h"

#include <gtest/gtest.h>

#include "base/hex.h"

namespace lathe {
namespace {

const std::string kKey = "0123456789abcdef0123456789abcdef";
// By: openssl pkeyutl -sign -rawin, of "lt2.1000\ne", and: openssl pkey -pubout
constexpr const char* kToken =
    "lt2.1000.23bc54912c1e6e92."
    "a96c4a6fcfcd71c498d0f4b606e5372d7924209f3ff5ef76454885981d81c30384c2f1e34809007d3c4a4deb0d2e98e54347480a13c2dd9ed7"
    "d0ecca8cdb770e";
constexpr const char* kPublic = "23bc54912c1e6e92c4a86825c867e27ffdc555bffbd4244f17a26abfffee965d";

TEST(TimedToken, IsEd25519AsOthersComputeIt) {
  EXPECT_EQ(make_timed_token(kKey, "e", 1000).value(), kToken);
  EXPECT_EQ(to_hex(public_key_of(kKey).value()), kPublic);
}

TEST(TimedToken, IsKnownByThePublicKeyForItsPurpose) {
  const auto signer = from_hex(kPublic).value();
  const auto other = public_key_of(std::string(kSigningKeyBytes, 'x')).value();
  const auto token = read_timed_token(kToken);
  ASSERT_TRUE(token);
  EXPECT_EQ(token->ends_s, 1000);
  EXPECT_TRUE(token->names(signer));
  EXPECT_FALSE(token->names(other));
  EXPECT_TRUE(is_signed_by(*token, signer, "e"));
  EXPECT_FALSE(is_signed_by(*token, signer, "f"));
  EXPECT_FALSE(is_signed_by(*token, other, "e"));
  EXPECT_FALSE(is_signed_by(*token, "no key", "e"));
  EXPECT_FALSE(make_timed_token("no key", "e", 1000));
}

TEST(TimedToken, NothingOfItCanBeChanged) {
  const auto signer = from_hex(kPublic).value();
  const std::string token = kToken;
  for (std::size_t i = 0; i < token.size(); ++i)
    for (const char put : {'0', '1', 'F', '.', '-', ' '}) {
      auto changed = token;
      if (changed[i] == put) continue;
      changed[i] = put;
      const auto read = read_timed_token(changed);
      EXPECT_FALSE(read && read->names(signer) && is_signed_by(*read, signer, "e")) << changed;
    }
}

TEST(TimedToken, OnlyItsOwnFormIsRead) {
  const std::string rest = std::string(kToken).substr(8);
  EXPECT_TRUE(read_timed_token("lt2.1000" + rest));
  for (const auto& other : {"lt2.01000" + rest, "lt2." + rest, "lt2.-1" + rest, "lt2.+1" + rest, "lt2.1e3" + rest,
                            "lt2.99999999999999999999" + rest, "lt1.1000" + rest, "lt2.1000" + rest + "0",
                            std::string("lt2.1000"), std::string("lt2."), std::string()})
    EXPECT_FALSE(read_timed_token(other)) << other;
}

}  // namespace
}  // namespace lathe
