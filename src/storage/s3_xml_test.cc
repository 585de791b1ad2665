#include "storage/s3_xml.h"

#include <gtest/gtest.h>

namespace lathe::storage {
namespace {

TEST(S3Xml, AListingIsReadWithItsKeysDecoded) {
  const auto page = parse_listing(R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p%2F</Prefix>
<Contents><Key>p%2Fa+b%2Bc%20d.txt</Key><Size>5000000000</Size><ETag>&quot;x&quot;</ETag></Contents>
<CommonPrefixes><Prefix>p%2Fd%2F</Prefix></CommonPrefixes>
<IsTruncated>true</IsTruncated><NextContinuationToken>tok+en/=</NextContinuationToken></ListBucketResult>)")
                        .value();
  ASSERT_EQ(page.objects.size(), 1u);
  EXPECT_EQ(page.objects[0].key, "p/a b+c d.txt");
  EXPECT_EQ(page.objects[0].size, 5'000'000'000u);
  EXPECT_EQ(page.folders, std::vector<std::string>{"p/d/"});
  EXPECT_EQ(page.next, "tok+en/=");
  EXPECT_TRUE(parse_listing("<ListBucketResult/>")->next.empty());
}

TEST(S3Xml, WhatIsNotAListingIsAnError) {
  for (const auto* text : {"", "<html><body>hello</body></html>", "<ListBucketResult>", "{}"})
    EXPECT_EQ(parse_listing(text).error().code, Code::unavailable) << text;
}

TEST(S3Xml, UploadsUnderWayAreRead) {
  const auto page = parse_uploads(
                        "<ListMultipartUploadsResult><Upload><Key>a%2Fb</Key><UploadId>u 1</UploadId>"
                        "<Initiated>2026-05-01T12:30:00.000Z</Initiated></Upload><IsTruncated>false</IsTruncated>"
                        "<NextKeyMarker>a/b</NextKeyMarker></ListMultipartUploadsResult>")
                        .value();
  ASSERT_EQ(page.uploads.size(), 1u);
  EXPECT_EQ(page.uploads[0].key, "a/b");
  EXPECT_EQ(page.uploads[0].id, "u 1");
  EXPECT_EQ(page.uploads[0].initiated, "2026-05-01T12:30:00.000Z");
  EXPECT_TRUE(page.next_key.empty());
}

TEST(S3Xml, ARefusalHasItsCode) {
  const auto refusal =
      parse_refusal("<Error><Code>PermanentRedirect</Code><Message>m &amp; n</Message><Region>eu</Region></Error>");
  EXPECT_EQ(refusal.code, "PermanentRedirect");
  EXPECT_EQ(refusal.message, "m & n");
  EXPECT_EQ(refusal.region, "eu");
  EXPECT_TRUE(parse_refusal("<CompleteMultipartUploadResult/>").code.empty());
  EXPECT_TRUE(parse_refusal("bad gateway").code.empty());
}

TEST(S3Xml, WhatWeSendIsEscaped) {
  EXPECT_EQ(
      deletion({"a&b", "<c>"}),
      "<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object><Object><Key>&lt;c&gt;</Key></Object></Delete>");
  EXPECT_EQ(
      completion({{1, "\"e1\""}}),
      "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e1\"</ETag></Part></CompleteMultipartUpload>");
  EXPECT_EQ(
      failed_deletion(
          "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"),
      "k: AccessDenied no");
  EXPECT_EQ(failed_deletion("<DeleteResult/>"), "");
}

}  // namespace
}  // namespace lathe::storage
