#include "infer/cluster/peers.h"

#include <gtest/gtest.h>

#include "infer/cluster/relay.h"

namespace lathe::infer {
namespace {

TEST(LesserOfTwo, TheBusiestOfSeveralIsNeverChosen) {
  const std::vector<double> loads{9, 1, 5};
  std::array<int, 3> chosen{};
  for (std::uint64_t random = 0; random < 600; ++random) ++chosen[lesser_of_two(loads, random)];
  EXPECT_EQ(chosen[0], 0);
  EXPECT_EQ(chosen[1], 400);  // it is one of the two in two of three draws
  EXPECT_EQ(chosen[2], 200);
}

TEST(LesserOfTwo, OneIsEnough) {
  EXPECT_EQ(lesser_of_two({7}, 12345), 0U);
}

TEST(ReplyHead, StatusHeadersAndLengthAreRead) {
  Exchanged got;
  std::size_t length = 0;
  ASSERT_TRUE(read_reply_head(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\nRetry-After:  1 \r\nConnection: close", got, length));
  EXPECT_EQ(got.status, 503);
  EXPECT_EQ(length, 12U);
  EXPECT_EQ(got.header("retry-after"), "1");
  EXPECT_FALSE(got.keep);
}

TEST(ReplyHead, WhatIsNoHeadIsRefused) {
  for (const std::string_view head :
       {"", "HTTP/1.1", "HTTP/1.0 200 OK\r\nContent-Length: 1", "HTTP/1.1 200 OK", "HTTP/1.1 99 x\r\nContent-Length: 1",
        "HTTP/1.1 200 OK\r\nContent-Length: -1", "HTTP/1.1 200 OK\r\nContent-Length: 1x",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999", "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1",
        "HTTP/1.1 abc\r\nContent-Length: 1"}) {
    Exchanged got;
    std::size_t length = 0;
    EXPECT_FALSE(read_reply_head(head, got, length)) << head;
  }
}

TEST(RelayedHead, TheDeploymentIsNamedAndTheMarkIsOurs) {
  http::Request request;
  request.method = "POST";
  request.path = "/v2/models/e/infer";
  request.query = "x=1";
  request.headers = {{"Authorization", "Bearer k"},
                     {"Content-Encoding", "gzip"},
                     {"X-Lathe-Forwarded", "false"},
                     {"Azureml-Model-Deployment", "green"},
                     {"X-Own", "kept"},
                     {"Content-Length", "99"}};
  request.body = "12345";
  EXPECT_EQ(relayed_head(request, Operation::infer, "blue", "the-key"),
            "POST /v2/models/e/infer?x=1 HTTP/1.1\r\nHost: lathe\r\nContent-Length: 5\r\nAuthorization: Bearer k\r\n"
            "X-Own: kept\r\nazureml-model-deployment: blue\r\nx-lathe-forwarded: the-key\r\n\r\n");
}

}  // namespace
}  // namespace lathe::infer
