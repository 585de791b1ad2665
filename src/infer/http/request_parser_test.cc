#include "infer/http/request_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace lathe::infer::http {
namespace {

using Status = RequestParser::Status;

/// Parses `text` given in pieces of `step` bytes, in a buffer that moves each time.
struct Parsed {
  Parsed(const std::string& text, std::size_t step, Limits limits = {}) : parser(limits) {
    for (std::size_t size = std::min(step, text.size());; size = std::min(size + step, text.size())) {
      std::string moved = buffer + text.substr(buffer.size(), size - buffer.size());
      buffer.swap(moved);
      status = parser.parse(buffer.data(), buffer.size());
      if (status != Status::need_more || size == text.size()) break;
    }
  }

  RequestParser parser;
  std::string buffer;
  Status status = Status::need_more;
};

const std::string kPost =
    "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-Name:  spaced value \t\r\nContent-Length: 5\r\n\r\nhello";
const std::string kChunked =
    "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n"
    "5\r\nhello\r\n1;x=y\r\n \r\nA\r\nwide world\r\n0\r\nTrailer: x\r\n\r\n";

TEST(RequestParser, ReadsARequestHoweverItIsCut) {
  for (std::size_t step = 1; step <= kPost.size(); ++step) {
    Parsed parsed(kPost, step);
    ASSERT_EQ(parsed.status, Status::complete) << step;
    const auto& request = parsed.parser.request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/a/b");
    EXPECT_EQ(request.query, "c=d");
    EXPECT_EQ(request.header("x-name"), "spaced value");
    EXPECT_EQ(request.header("nothing"), "");
    EXPECT_EQ(request.body, "hello");
    EXPECT_TRUE(request.keep_alive);
    EXPECT_EQ(parsed.parser.consumed(), kPost.size());
  }
}

TEST(RequestParser, JoinsChunksHoweverTheyAreCut) {
  for (std::size_t step = 1; step <= kChunked.size(); ++step) {
    Parsed parsed(kChunked, step);
    ASSERT_EQ(parsed.status, Status::complete) << step;
    EXPECT_EQ(parsed.parser.request().body, "hello wide world");
    EXPECT_EQ(parsed.parser.consumed(), kChunked.size());
  }
}

TEST(RequestParser, LeavesTheNextRequestAlone) {
  std::string two = kChunked + kPost;
  RequestParser parser({});
  ASSERT_EQ(parser.parse(two.data(), two.size()), Status::complete);
  const auto first = parser.consumed();
  EXPECT_EQ(first, kChunked.size());
  parser.reset();
  ASSERT_EQ(parser.parse(two.data() + first, two.size() - first), Status::complete);
  EXPECT_EQ(parser.request().body, "hello");
}

TEST(RequestParser, KeepsAliveAsVersionAndConnectionSay) {
  const auto keeps = [](const std::string& version, const std::string& connection) {
    const Parsed parsed("GET / HTTP/" + version + "\r\nHost: x\r\nConnection: " + connection + "\r\n\r\n", 1000);
    return parsed.status == Status::complete && parsed.parser.request().keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", "keep-alive"));
  EXPECT_TRUE(keeps("1.1", "upgrade"));
  EXPECT_FALSE(keeps("1.1", "upgrade, Close"));
  EXPECT_FALSE(keeps("1.0", "x"));
  EXPECT_TRUE(keeps("1.0", "Keep-Alive"));
}

TEST(RequestParser, TakesAnAbsoluteTarget) {
  const Parsed parsed("GET http://host:1/path?q HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
  ASSERT_EQ(parsed.status, Status::complete);
  EXPECT_EQ(parsed.parser.request().path, "/path");
}

TEST(RequestParser, RefusesWhatCanBeReadInTwoWays) {
  const auto code = [](const std::string& text) {
    const Parsed parsed(text, 1);
    return parsed.status == Status::error ? parsed.parser.status_code() : 0;
  };
  const std::string start = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(code(start + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
  EXPECT_EQ(code(start + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(code(start + "Content-Length : 1\r\n\r\n"), 400);
  EXPECT_EQ(code(start + "Content-Length: +1\r\n\r\n"), 400);
  EXPECT_EQ(code(start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
  EXPECT_EQ(code(start + "Transfer-Encoding: chunked\r\n\r\n1 \nx"), 400);
  EXPECT_EQ(code(start + "Transfer-Encoding: chunked\r\n\r\n-1\r\n"), 400);
  EXPECT_EQ(code(start + "A: b\r\n c: d\r\n\r\n"), 400);
  EXPECT_EQ(code(start + "A: b\n\r\n"), 400);
  EXPECT_EQ(code(start + "A: b\rc\r\n\r\n"), 400);
}

TEST(RequestParser, HoldsItsLimits) {
  const Limits limits{.head_bytes = 100, .headers = 2, .body_bytes = 10};
  const auto code = [&](const std::string& text) { return Parsed(text, 7, limits).parser.status_code(); };
  const std::string start = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(code(start + "A: " + std::string(100, 'a')), 431);
  EXPECT_EQ(code(start + "A: b\r\nC: d\r\n\r\n"), 431);
  EXPECT_EQ(code(start + "Content-Length: 11\r\n\r\n"), 413);
  EXPECT_EQ(code(start + "Content-Length: 10\r\n\r\n"), 0);
  EXPECT_EQ(code(start + "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n3\r\n"), 413);
  EXPECT_EQ(code(start + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + std::string(200, 'a')), 400);
}

}  // namespace
}  // namespace lathe::infer::http
