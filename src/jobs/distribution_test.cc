#include "jobs/distribution.h"

#include <gtest/gtest.h>

#include "json/json.h"

namespace lathe::jobs {
namespace {

Result<Distribution> read(const char* text) {
  return read_distribution(json::parse_object(text).value());
}
std::string error(const char* text) {
  const auto found = read(text);
  return found ? "" : found.error().message;
}
std::string value_of(const Variables& variables, std::string_view name) {
  for (const auto& [key, value] : variables)
    if (key == name) return value;
  return "(none)";
}

const Meeting kTwoNodes{{"c-0", "c-1"}, {"10.0.0.1", "10.0.0.2"}, {2222, 2223, 2224}, ""};

TEST(Distribution, AzuresDefaultsHold) {
  EXPECT_TRUE(read(R"({})")->single());
  const auto pytorch = read(R"({"distribution":{"type":"PyTorch"},"resources":{"instance_count":3}})");
  EXPECT_EQ(pytorch->processes_per_node, 1);
  EXPECT_EQ(pytorch->processes(), 3);
  const auto tensorflow = read(R"({"distribution":{"type":"tensorflow"},"resources":{"instance_count":2}})");
  EXPECT_EQ(tensorflow->workers, 2);
  EXPECT_EQ(tensorflow->parameter_servers, 0);
}

TEST(Distribution, WhatCannotBeIsRefusedByItsField) {
  EXPECT_TRUE(error(R"({"resources":{"instance_count":0}})").starts_with("resources.instance_count:"));
  EXPECT_TRUE(error(R"({"distribution":{"type":"ray"}})").starts_with("distribution.type:"));
  EXPECT_TRUE(error(R"({"distribution":{}})").starts_with("distribution.type:"));
  EXPECT_TRUE(
      error(R"({"distribution":{"type":"pytorch","worker_count":2}})").starts_with("distribution.worker_count:"));
  EXPECT_TRUE(error(R"({"distribution":{"type":"mpi","process_count_per_instance":"4"}})")
                  .starts_with("distribution.process_count_per_instance:"));
  EXPECT_TRUE(error(R"({"distribution":{"type":"tensorflow","worker_count":1},"resources":{"instance_count":2}})")
                  .starts_with("distribution.worker_count:"));
  EXPECT_TRUE(error(R"({"distribution":"pytorch"})").starts_with("distribution:"));
}

TEST(Distribution, TorchsRanksFillNodeAfterNode) {
  const auto two_by_two =
      read(R"({"distribution":{"type":"pytorch","process_count_per_instance":2},"resources":{"instance_count":2}})")
          .value();
  const auto shared = node_variables(two_by_two, 1, kTwoNodes);
  EXPECT_EQ(value_of(shared, "WORLD_SIZE"), "4");
  EXPECT_EQ(value_of(shared, "LOCAL_WORLD_SIZE"), "2");
  EXPECT_EQ(value_of(shared, "NODE_RANK"), "1");
  EXPECT_EQ(value_of(shared, "MASTER_ADDR"), "10.0.0.1");
  EXPECT_EQ(value_of(shared, "MASTER_PORT"), "2222");
  EXPECT_EQ(value_of(shared, "AZ_BATCH_HOST_LIST"), "10.0.0.1,10.0.0.2");
  EXPECT_EQ(value_of(shared, "AZ_BATCH_MASTER_NODE"), "10.0.0.1:2222");
  const auto ranks = ranks_on(two_by_two, 1, kTwoNodes);
  ASSERT_EQ(ranks.size(), 2U);
  EXPECT_EQ(value_of(ranks[0].env, "RANK"), "2");
  EXPECT_EQ(value_of(ranks[1].env, "RANK"), "3");
  EXPECT_EQ(value_of(ranks[1].env, "LOCAL_RANK"), "1");
}

TEST(Distribution, EachTensorFlowProcessHasItsTaskAndServersAreNotWaitedFor) {
  const auto asked =
      read(
          R"({"distribution":{"type":"tensorflow","worker_count":2,"parameter_server_count":1},"resources":{"instance_count":2}})")
          .value();
  EXPECT_EQ(ports_needed(asked), 3U);
  const auto first = ranks_on(asked, 0, kTwoNodes);
  const auto second = ranks_on(asked, 1, kTwoNodes);
  ASSERT_EQ(first.size(), 2U);
  ASSERT_EQ(second.size(), 1U);
  const auto config = json::parse_object(value_of(first[1].env, "TF_CONFIG")).value();
  const auto expected =
      json::parse_object(R"({"cluster":{"worker":["10.0.0.1:2222","10.0.0.2:2223"],"ps":["10.0.0.1:2224"]},
      "task":{"type":"ps","index":0},"environment":"cloud"})")
          .value();
  EXPECT_EQ(config, expected);
  EXPECT_TRUE(first[1].helper);
  EXPECT_FALSE(first[0].helper || second[0].helper);
  EXPECT_NE(value_of(second[0].env, "TF_CONFIG").find(R"({"type":"worker","index":1})"), std::string::npos);
}

TEST(Distribution, RanksAndPlacesAgree) {
  for (
      const auto* text :
      {R"({"distribution":{"type":"pytorch","process_count_per_instance":3},"resources":{"instance_count":4}})",
       R"({"distribution":{"type":"tensorflow","worker_count":5,"parameter_server_count":2},"resources":{"instance_count":3}})"}) {
    const auto asked = read(text).value();
    std::int64_t seen = 0;
    for (std::int64_t node = 0; node < asked.nodes; ++node)
      for (std::int64_t local = 0; local < processes_on(asked, node); ++local, ++seen)
        EXPECT_EQ(place_of(asked, rank_of(asked, node, local)), std::make_pair(node, local));
    EXPECT_EQ(seen, asked.processes());
  }
}

}  // namespace
}  // namespace lathe::jobs
