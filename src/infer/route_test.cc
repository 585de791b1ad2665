#include "infer/route.h"

#include <gtest/gtest.h>

namespace lathe::infer {
namespace {

TEST(Route, FindsModelVersionAndOperation) {
  const auto route = parse_route("/endpoints/e/v2/models/m/versions/3/infer");
  ASSERT_TRUE(route);
  EXPECT_EQ(route->operation, Operation::infer);
  EXPECT_EQ(route->endpoint, "e");
  EXPECT_EQ(route->model, "m");
  EXPECT_EQ(route->version, "3");
  EXPECT_EQ(parse_route("/v2/models/m")->operation, Operation::model_metadata);
  EXPECT_EQ(parse_route("/v2/models/m/ready")->operation, Operation::model_ready);
  EXPECT_EQ(parse_route("/v2/models/m/config")->operation, Operation::model_config);
  EXPECT_EQ(parse_route("/v2/models/m/versions/3/stats")->operation, Operation::model_statistics);
  EXPECT_EQ(parse_route("/endpoints/e/statistics")->operation, Operation::endpoint_statistics);
  EXPECT_TRUE(parse_route("/endpoints/e/statistics")->needs_key());
  EXPECT_EQ(parse_route("/v2/models/stats")->operation, Operation::every_statistics);
  EXPECT_EQ(parse_route("/v2/repository/models/m/unload")->operation, Operation::repository_change);
  EXPECT_EQ(parse_route("/v2")->operation, Operation::server_metadata);
  EXPECT_EQ(parse_route("/endpoints/e/score")->operation, Operation::score);
}

TEST(Route, OnlyTheServersOwnPathsAreOpen) {
  for (const char* path : {"/v2/models/stats", "/v2/repository/index", "/v2/models/m", "/v2/models/m/ready",
                           "/v2/models/m/infer", "/invocations", "/score"})
    EXPECT_TRUE(parse_route(path)->needs_key()) << path;
  for (const char* path : {"/v2", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version", "/metrics"})
    EXPECT_FALSE(parse_route(path)->needs_key()) << path;
}

TEST(Route, KnowsNoOtherPath) {
  for (const char* path : {"", "/", "/v2/models", "/v2/models/", "/v2/models/m/", "/v2/models/m/versions/",
                           "/v2/models/m/versions/3/infer/", "/v2/models/m/explain", "/endpoints/", "/endpoints//score",
                           "/endpoints/e", "/scores"})
    EXPECT_FALSE(parse_route(path)) << path;
}

}  // namespace
}  // namespace lathe::infer
