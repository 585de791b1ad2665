#include "tracking/filter.h"

#include <gtest/gtest.h>

#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

TEST(Filter, AnEmptyFilterHasNoComparisons) {
  EXPECT_TRUE(parse_filter("")->empty());
  EXPECT_TRUE(parse_filter("  \n")->empty());
}

TEST(Filter, ComparisonsAreJoinedByAnd) {
  const auto parsed = parse_filter("metrics.loss < 0.5 and params.model = 'tree' AND status != \"FAILED\"").value();
  ASSERT_EQ(parsed.size(), 3u);
  EXPECT_EQ(parsed[0].entity, "metrics");
  EXPECT_EQ(parsed[0].key, "loss");
  EXPECT_EQ(parsed[0].op, Op::lt);
  EXPECT_EQ(parsed[0].value.number, 0.5);
  EXPECT_EQ(parsed[1].value.text, "tree");
  EXPECT_EQ(parsed[2].entity, "");
  EXPECT_EQ(parsed[2].key, "status");
  EXPECT_EQ(parsed[2].value.text, "FAILED");
}

TEST(Filter, KeysMayBeQuotedAndHoldDots) {
  EXPECT_EQ(parse_filter("metrics.`val loss/1` >= -1e-3")->at(0).key, "val loss/1");
  EXPECT_EQ(parse_filter("tags.\"a.b\" = 'c'")->at(0).key, "a.b");
  EXPECT_EQ(parse_filter("tags.mlflow.source.name = 'c'")->at(0).key, "mlflow.source.name");
  EXPECT_EQ(parse_filter("`metrics`.x > 1")->at(0).entity, "metrics");
  EXPECT_EQ(parse_filter("attribute.\"run name\" = 'x'")->at(0).key, "run name");
  EXPECT_EQ(parse_filter("`run name` = 'x'")->at(0).key, "run name");
}

TEST(Filter, ListsAndNulls) {
  const auto in = parse_filter("run_id NOT IN ('a', \"b\")").value();
  EXPECT_EQ(in[0].op, Op::not_in);
  EXPECT_EQ(in[0].value.list, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parse_filter("run_id in ('a',)")->at(0).value.list.size(), 1u);
  EXPECT_EQ(parse_filter("params.x IS NULL")->at(0).op, Op::is_null);
  EXPECT_EQ(parse_filter("tags.x is not null AND tags.y = '1'")->at(0).op, Op::is_not_null);
}

TEST(Filter, QuotesAreDoubledOrEscaped) {
  EXPECT_EQ(parse_filter("tags.a = 'it''s'")->at(0).value.text, "it's");
  EXPECT_EQ(parse_filter("tags.a = \"it's\"")->at(0).value.text, "it's");
  EXPECT_EQ(parse_filter("tags.a = 'it\\'s'")->at(0).value.text, "it\\'s");
  EXPECT_EQ(parse_filter("tags.a = 'C:\\'")->at(0).value.text, "C:\\");
  EXPECT_EQ(parse_filter("tags.`a``b` = 'c'")->at(0).key, "a`b");
  EXPECT_EQ(parse_filter("run_id IN ('a', 'it''s')")->at(0).value.list[1], "it's");
}

TEST(Filter, OtherOperatorsAreReadForTheSubjectToRefuse) {
  for (const auto* text : {"metrics.a == 1", "metrics.a ~ 1", "tags.a RLIKE 'x'", "tags.a not like 'x'"})
    EXPECT_EQ(parse_filter(text)->at(0).op, Op::other) << text;
  EXPECT_EQ(parse_filter("tags.a not like 'x'")->at(0).op_text, "NOT LIKE");
}

TEST(Filter, WhatIsNotTheLanguageIsRefused) {
  for (const auto* text : {"metrics.a > 1; DROP TABLE run",
                           "metrics.a > 1 OR 1 = 1",
                           "(metrics.a > 1)",
                           "metrics.a > (SELECT 1)",
                           "metrics.a",
                           "metrics.a >",
                           "> 1",
                           "metrics.a > 1 AND",
                           "AND metrics.a > 1",
                           "metrics.a > 1 metrics.b > 1",
                                                      "params.a = 'x",
                           "params.`a = 'x'",
                           "run_id IN ()",
                           "run_id IN 'a'",
                           "run_id = ('a')",
                           "run_id IN ('a' 'b')",
                           "metrics.a > 1e",
                           "metrics.a > 1.2.3",
                           "metrics.a > 0x10",
                           "tags.a NOT 'b'",
                           "tags.a IS 'b'",
                           "metrics. > 1",
                           "a -- comment",
                           "metrics.a > 1 /* x */",
                           "metrics.a > 1 UNION SELECT 1",
                           "'a' = 'b'",
                           "1 = 1"}) {
    const auto parsed = parse_filter(text);
    EXPECT_FALSE(parsed) << text;
    EXPECT_TRUE(parsed || parsed.error().code == Code::invalid) << text;
  }
}

TEST(Filter, VeryLongFiltersAreRefused) {
  std::string many = "metrics.a > 1";
  for (int i = 0; i < 200; ++i) many += " AND metrics.a > 1";
  EXPECT_FALSE(parse_filter(many));
  EXPECT_FALSE(parse_filter("tags.a = '" + std::string(100'000, 'x') + "'"));
}

TEST(Filter, OrderTermsTakeADirection) {
  EXPECT_FALSE(parse_order("metrics.`a b` DESC")->ascending);
  EXPECT_EQ(parse_order("metrics.`a b` DESC")->key, "a b");
  EXPECT_TRUE(parse_order("start_time")->ascending);
  EXPECT_TRUE(parse_order("attribute.start_time asc")->ascending);
  for (const auto* text : {"", "start_time up", "(SELECT 1)", "start_time DESC, run_id", "start_time; DROP TABLE run"})
    EXPECT_FALSE(parse_order(text)) << text;
}

TEST(PageToken, ReadsBackAndRefusesNoise) {
  EXPECT_EQ(parse_page_token(make_page_token(17)), 17u);
  EXPECT_EQ(parse_page_token(""), 0u);
  for (const auto* token : {"x", "!!!", "e30=", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiAwfQ=="}) EXPECT_FALSE(parse_page_token(token)) << token;
}

TEST(Validation, KeysAreTheirOwnPath) {
  for (const auto* key : {"a", "a/b", "train loss", "a.b-c_d:e", "été"}) EXPECT_TRUE(check_key("metric", key)) << key;
  for (const auto* key : {"", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "./a", "a\nb", "a*", "a\\b"})
    EXPECT_FALSE(check_key("metric", key)) << key;
  EXPECT_TRUE(check_key("metric", std::string(250, 'k')));
  EXPECT_EQ(check_key("metric", std::string(251, 'k')).error().message,
            "'Metric name' exceeds the maximum length of 250 characters");
  EXPECT_EQ(check_key("tag", "a*", "tags", 3).error().message.substr(0, 48),
            "Invalid value \"a*\" for parameter 'tags[3].key' s");
}

TEST(Validation, NormalPathIsPosixNormpath) {
  EXPECT_EQ(normal_path(""), ".");
  EXPECT_EQ(normal_path("a/./b//c/.."), "a/b");
  EXPECT_EQ(normal_path("../../a"), "../../a");
  EXPECT_EQ(normal_path("/../a"), "/a");
  EXPECT_EQ(normal_path("//a"), "//a");
  EXPECT_EQ(normal_path("///a"), "/a");
  EXPECT_EQ(normal_path("a/.."), ".");
}

TEST(Validation, LengthsCountCharacters) {
  EXPECT_EQ(count_characters("été"), 3u);
  EXPECT_EQ(first_characters("étéx", 2), "ét");
  EXPECT_EQ(first_characters("ab", 5), "ab");
}

TEST(Validation, ExperimentIdsAreDecimal) {
  EXPECT_EQ(parse_experiment_id("0"), 0);
  EXPECT_EQ(parse_experiment_id("17"), 17);
  EXPECT_EQ(parse_experiment_id("007").error().code, Code::not_found);
  EXPECT_EQ(parse_experiment_id("abc").error().code, Code::not_found);
  EXPECT_EQ(parse_experiment_id("../x").error().code, Code::invalid);
  EXPECT_EQ(parse_experiment_id("").error().code, Code::invalid);
}

}  // namespace
}  // namespace lathe::tracking
