#include "infer/cluster/counts.h"

#include <gtest/gtest.h>

#include <set>

namespace lathe::infer {
namespace {

Counts counts_of(int deployments, int requests) {
  Counts out;
  for (int i = 0; i < deployments; ++i)
    out[{"e", std::to_string(i)}] = {"1", "{\"requests\":" + std::to_string(requests) + "}"};
  return out;
}

std::set<std::string> names_in(const json::Array& said) {
  std::set<std::string> out;
  for (const auto& each : said) out.emplace(json::view(each.at("deployment").as_string()));
  return out;
}

TEST(TellCounts, WhatTheServerKnowsIsNotSaidAgain) {
  TellCounts tell;
  EXPECT_EQ(names_in(tell.next(counts_of(2, 1))).size(), 2U);
  // Nobody has answered: it is said again.
  EXPECT_EQ(names_in(tell.next(counts_of(2, 1))).size(), 2U);
  tell.kept("server");
  EXPECT_TRUE(tell.next(counts_of(2, 1)).empty());
  auto one_more = counts_of(2, 1);
  one_more[{"e", "1"}].summary = R"({"requests":2})";
  const auto said = tell.next(one_more);
  EXPECT_EQ(names_in(said), std::set<std::string>{"1"});
  EXPECT_EQ(json::print(said[0].at("counts")), R"({"requests":2})");
}

TEST(TellCounts, AServerThatStartedAgainHearsAll) {
  TellCounts tell;
  tell.next(counts_of(2, 1));
  tell.kept("first");
  auto one_more = counts_of(2, 1);
  one_more[{"e", "1"}].summary = R"({"requests":2})";
  EXPECT_EQ(tell.next(one_more).size(), 1U);
  tell.kept("second");
  EXPECT_EQ(names_in(tell.next(one_more)), std::set<std::string>{"0"}) << "the other one it has just been told";
}

TEST(TellCounts, ManyTakeTurns) {
  TellCounts tell;
  std::set<std::string> heard;
  for (int i = 0; i < 4; ++i) {
    const auto said = tell.next(counts_of(200, i));  // all of them go on counting
    EXPECT_EQ(said.size(), 64U);
    tell.kept("server");
    heard.merge(names_in(said));
  }
  EXPECT_EQ(heard.size(), 200U);
}

TEST(TellCounts, ADeploymentThatCameBackIsSaidAnew) {
  TellCounts tell;
  tell.next(counts_of(1, 1));
  tell.kept("server");
  EXPECT_TRUE(tell.next({}).empty());
  tell.kept("server");
  EXPECT_EQ(tell.next(counts_of(1, 1)).size(), 1U);
}

}  // namespace
}  // namespace lathe::infer
