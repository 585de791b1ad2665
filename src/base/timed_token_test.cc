#include "base/timed_token.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

constexpr std::int64_t kDay = 86'400;

TEST(TimedToken, HoldsUntilItsTimeForItsPurposeAndKey) {
  const auto token = make_timed_token("key", "e", 1000);
  EXPECT_TRUE(is_timed_token(token));
  EXPECT_EQ(check_timed_token(token, "key", "e", 999, kDay), TimedToken::good);
  EXPECT_EQ(check_timed_token(token, "key", "e", 1000, kDay), TimedToken::ended);
  EXPECT_EQ(check_timed_token(token, "other", "e", 999, kDay), TimedToken::wrong);
  EXPECT_EQ(check_timed_token(token, "key", "f", 999, kDay), TimedToken::wrong);
  EXPECT_EQ(check_timed_token(token, "key", "e", 999 - kDay, kDay), TimedToken::wrong);
}

TEST(TimedToken, ATimeThatWasChangedIsWrong) {
  const auto token = make_timed_token("key", "e", 1000);
  const auto mac = token.substr(token.rfind('.'));
  for (const auto& changed : {"lt1.2000" + mac, "lt1.01000" + mac, "lt1." + mac, "lt1.-1" + mac, "lt1.1e9" + mac,
                              std::string("lt1.1000"), token + "0", token.substr(1), std::string()})
    EXPECT_EQ(check_timed_token(changed, "key", "e", 999, kDay), TimedToken::wrong) << changed;
}

TEST(TimedToken, IsHmacSha256AsOthersComputeIt) {
  // By: printf 'lt1.1000\ne' | openssl dgst -sha256 -hmac key
  EXPECT_EQ(make_timed_token("key", "e", 1000),
            "lt1.1000.e937914a5177f2a6276c64a2daaeed4200bb0f778490b374b06bc5c1b4438397");
}

}  // namespace
}  // namespace lathe
