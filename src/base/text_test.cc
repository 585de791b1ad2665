#include "base/text.h"
#include "base/utf8.h"

#include <gtest/gtest.h>

#include "base/digest.h"

namespace lathe {
namespace {

TEST(Text, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(split("a,", ','), (std::vector<std::string_view>{"a", ""}));
  EXPECT_TRUE(split("", ',').empty());
}

TEST(Text, AnUnknownNameIsAnsweredWithTheNearest) {
  EXPECT_EQ(unknown_name("compute", "gpu-clutser", {"laptop", "gpu-cluster"}),
            "no compute named \"gpu-clutser\"; the nearest are \"gpu-cluster\", \"laptop\"");
  EXPECT_EQ(unknown_name("model", "m", {}), "no model named \"m\"; there is none");
}

TEST(Text, PercentEncodingGoesBothWays) {
  EXPECT_EQ(url_encode("a b/c%"), "a%20b%2Fc%25");
  EXPECT_EQ(url_decode("a%20b%2Fc%25"), "a b/c%");
  EXPECT_EQ(url_decode("100%zz%4"), "100%zz%4");
}

TEST(Digest, Sha256MatchesTheStandardsExample) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, Base64GoesBothWaysAndRefusesRubbish) {
  EXPECT_EQ(base64_encode("user:pw"), "dXNlcjpwdw==");
  EXPECT_EQ(base64_decode("dXNlcjpwdw==").value(), "user:pw");
  EXPECT_FALSE(base64_decode("dXN"));
  EXPECT_FALSE(base64_decode("%%%%"));
}

TEST(TakeUtf8, ReplacesWhatIsNotUtf8AndKeepsABeginning) {
  std::string bytes = "ok\xFF\xE2\x82";
  EXPECT_EQ(take_utf8(bytes, false), "ok\xEF\xBF\xBD");
  EXPECT_EQ(bytes, "\xE2\x82");
  EXPECT_EQ(take_utf8(bytes, true), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(bytes, "");
  for (std::string wrong : {"\xC0\xAF", "\xED\xA0\x80", "\xF5\x80\x80\x80"})
    EXPECT_EQ(take_utf8(wrong, true).find("\xEF\xBF\xBD"), 0U);
}

TEST(Printable, IsUtf8WithoutControlCharacters) {
  EXPECT_EQ(printable("a\x01\xFFz\xC3"), "a?\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(printable("\xC3\xA9\n\tx"), "\xC3\xA9\n\tx");
}

}  // namespace
}  // namespace lathe
