#include "serving/counts.h"

#include <gtest/gtest.h>

#include "serving/endpoint.h"

namespace lathe::serving {
namespace {

constexpr std::int64_t kHeard = 10'000'000;

json::Object said(const std::string& counts, const std::string& more = "") {
  return json::parse_object(R"({"now_us":5000,"counts":[{"endpoint":"e","deployment":"blue","version":"1","counts":)" +
                            counts + "}" + more + "]}")
      .value();
}

std::string counts(const std::string& requests, const std::string& buckets = R"({"3":1})", int began_us = 1000) {
  return R"({"requests":)" + requests + R"(,"errors":0,"succeeded":1,"total_us":3,"latency_us":)" + buckets +
         R"(,"began_us":)" + std::to_string(began_us) + "}";
}

TEST(Counts, OfTheServersDataPlane) {
  const std::string text =
      R"({"name":"e","deployments":[{"name":"blue","version":"7","instances":2,"counts":{"requests":3,"errors":1,)"
      R"("succeeded":2,"total_us":7,"latency_us":{"3":1,"4":1},"began_us":8}}]})";
  const auto read = read_statistics(text).value();
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].machine, kServer);
  EXPECT_EQ(read[0].version, "7");
  EXPECT_EQ(read[0].instances, 2);
  EXPECT_EQ(sum_of(read, "blue"), (Sample{3, 1, 2, 7, {{"3", 1}, {"4", 1}}, 8}));
  EXPECT_EQ(sum_of(read, "green"), Sample{});
  EXPECT_FALSE(read_statistics("[]"));
  EXPECT_FALSE(read_statistics(R"({"deployments":[{"name":"blue","version":"7"}]})"));
}

TEST(Counts, OfANodeCarryWhenTheyBeganByOurClock) {
  const auto read = read_node_counts("n", said(counts("2")), kHeard).value();
  const auto& one = read.at({"e", "blue"});
  EXPECT_EQ(one.machine, "n");
  EXPECT_EQ(one.sample, (Sample{2, 0, 1, 3, {{"3", 1}}, 1000}));
  EXPECT_EQ(one.since_us, kHeard - 4000);
  EXPECT_TRUE(read_node_counts("n", json::Object{}, kHeard)->empty());
}

TEST(Counts, WhatNoNodeCanHaveCountedIsRefused) {
  const std::string twice = R"(,{"endpoint":"e","deployment":"blue","version":"1","counts":)" + counts("2") + "}";
  for (const auto& wrong : {said(counts("-1")), said(counts("9000000000000000000")), said(counts("1e3")),
                            said(counts("\"2\"")), said(counts("2", R"({"x":1})")), said(counts("2", R"({"-3":1})")),
                            said(counts("2", R"({"3":-1})")), said(counts("2", R"({"99999999999999999999":1})")),
                            said("[]"), said("{}"), said("null"), said(counts("2"), twice), said(counts("2"), ",7"),
                            said(counts("2"), ",{}"), json::parse_object(R"({"counts":{}})").value()}) {
    const auto read = read_node_counts("n", wrong, kHeard);
    ASSERT_FALSE(read) << json::print(wrong);
    EXPECT_EQ(read.error().code, Code::invalid) << read.error().message;
    EXPECT_FALSE(read.error().message.empty());
  }
}

TEST(Counts, WhatCameLateDoesNotTakeBackWhatIsKnown) {
  NodeCounts known;
  const auto say = [&](const std::string& requests, int began_us = 1000) {
    keep_counts(known, read_node_counts("n", said(counts(requests, R"({"3":1})", began_us)), kHeard).value());
    return known.at({"e", "blue"}).sample.requests;
  };
  EXPECT_EQ(say("5"), 5);
  EXPECT_EQ(say("5"), 5);
  EXPECT_EQ(say("3"), 5);
  EXPECT_EQ(say("2", 2000), 2) << "a data plane that began anew";
}

TEST(Watched, AddsUpWhatCameOverEveryStartAnew) {
  Shift shift;
  shift.baseline = Sample{10, 1, 9, 90, {{"10", 9}}, 5};
  EXPECT_FALSE(shift.look(shift.baseline));
  EXPECT_TRUE(shift.look({14, 1, 13, 130, {{"10", 13}}, 5}));
  auto& node = shift.nodes["n"];
  EXPECT_TRUE(node.look({3, 3, 0, 0, {}, 7}));
  EXPECT_TRUE(node.look({5, 5, 0, 0, {}, 7}));
  EXPECT_FALSE(node.look({5, 5, 0, 0, {}, 7}));
  EXPECT_FALSE(node.look(Sample{})) << "it loads";
  EXPECT_TRUE(node.look({2, 0, 2, 20, {{"10", 2}}, 8}));
  const auto total = shift.total();
  EXPECT_EQ(total.requests, 4 + 5 + 2);
  EXPECT_EQ(total.errors, 5);
  EXPECT_EQ(total.latency_us, (std::map<std::string, std::int64_t>{{"10", 6}}));
  // As it is kept.
  const auto back = json::from_json<Shift>(json::to_json(shift));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->total(), total);
}

}  // namespace
}  // namespace lathe::serving
