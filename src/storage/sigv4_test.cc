#include "storage/sigv4.h"

#include <gtest/gtest.h>

#include "base/digest.h"

namespace lathe::storage {
namespace {

// AWS's published examples for S3: "Signature Calculations for the Authorization Header" and "Authenticating Requests:
// Using Query Parameters".
const Signer kExample({"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", {}}, "us-east-1");
const Time kMay24 = from_micros(1369353600'000000);
const std::string kHost = "examplebucket.s3.amazonaws.com";

std::string value_of(const Pairs& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

std::string signature_of(const Signable& request, std::string_view body = {}) {
  const auto line = value_of(kExample.headers(request, sha256_hex(body), kMay24), "authorization");
  return line.substr(line.rfind('=') + 1);
}

TEST(SigV4, APartOfAnObjectIsSignedAsAwsSignsIt) {
  const Signable request{"GET", kHost, "/test.txt", {}, {{"range", "bytes=0-9"}}};
  EXPECT_EQ(signature_of(request), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  const auto headers = kExample.headers(request, sha256_hex(""), kMay24);
  EXPECT_EQ(value_of(headers, "x-amz-date"), "20130524T000000Z");
  EXPECT_NE(value_of(headers, "authorization").find("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"),
            std::string::npos);
}

TEST(SigV4, AnUploadIsSignedAsAwsSignsIt) {
  const Signable request{"PUT",
                         kHost,
                         "/test%24file.text",
                         {},
                         {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}};
  EXPECT_EQ(signature_of(request, "Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(SigV4, QueriesAreSignedAsAwsSignsThem) {
  EXPECT_EQ(signature_of({"GET", kHost, "/", {{"lifecycle", ""}}}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(signature_of({"GET", kHost, "/", {{"prefix", "J"}, {"max-keys", "2"}}}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, AnAddressIsPresignedAsAwsPresignsIt) {
  EXPECT_EQ(kExample.presigned_query({"GET", kHost, "/test.txt"}, std::chrono::hours{24}, kMay24),
            "X-Amz-Algorithm=AWS4-HMAC-SHA256"
            "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
            "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST(SigV4, ASessionsTokenIsSignedToo) {
  const Signer session({"AKIAIOSFODNN7EXAMPLE", "secret", "to/ken"}, "us-east-1");
  const auto headers = session.headers({"GET", kHost, "/"}, sha256_hex(""), kMay24);
  EXPECT_EQ(value_of(headers, "x-amz-security-token"), "to/ken");
  EXPECT_NE(value_of(headers, "authorization").find(";x-amz-security-token,"), std::string::npos);
  EXPECT_NE(
      session.presigned_query({"GET", kHost, "/"}, std::chrono::hours{1}, kMay24).find("X-Amz-Security-Token=to%2Fken"),
      std::string::npos);
}

TEST(SigV4, QueriesAreSortedByTheirEncodedNames) {
  EXPECT_EQ(canonical_query({{"b", "x y"}, {"a-b", "~/"}, {"a", ""}}), "a=&a-b=~%2F&b=x%20y");
}

}  // namespace
}  // namespace lathe::storage
