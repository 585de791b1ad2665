#include "compute/targets.h"

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

constexpr Resources kMachine{2, std::int64_t{8} << 30, 0};

Result<Target> read(const char* text, json::Report& report) {
  return read_target(json::parse_object(text).value(), Target{}, kMachine, report);
}
std::string error(const char* text) {
  json::Report report;
  const auto target = read(text, report);
  return target ? "" : target.error().message;
}

TEST(ComputeDocument, AzuresExampleIsReadAndWhatChangesIsSaid) {
  json::Report report;
  const auto target = read(R"({"name":"cpu-cluster","type":"amlcompute","size":"STANDARD_DS3_v2","min_instances":0,"max_instances":2,
      "idle_time_before_scale_down":60,"tier":"low_priority","location":"westus"})", report).value();
  EXPECT_EQ(target.max_instances, 2);
  EXPECT_EQ(target.idle_s, 60);
  ASSERT_EQ(report.size(), 3U);
  EXPECT_EQ(report[0].field, "size");
  EXPECT_EQ(report[0].verdict, "substituted");
  EXPECT_EQ(report[1].field, "tier");
  EXPECT_EQ(report[2].field, "location");
}

TEST(ComputeDocument, ErrorsBeginWithTheField) {
  EXPECT_EQ(error(R"({"name":"a b"})").substr(0, 5), "name:");
  EXPECT_EQ(error(R"({"name":"local"})").substr(0, 5), "name:");
  EXPECT_EQ(error(R"({"name":"c","min_instances":3,"max_instances":2})").substr(0, 14), "min_instances:");
  EXPECT_EQ(error(R"({"name":"c","max_instances":"many"})"), "max_instances: must be a whole number, not \"many\"");
  EXPECT_EQ(error(R"({"name":"c","max_instance":2})").substr(0, 13), "max_instance:");
  EXPECT_EQ(error(R"({"name":"c","type":"kubernetes"})").substr(0, 5), "type:");
}

TEST(ComputeDocument, AnUpdateKeepsWhatItDoesNotName) {
  json::Report report;
  Target base;
  base.name = "c";
  base.size = "all";
  base.idle_s = 7;
  const auto target = read_target(json::parse_object(R"({"max_instances":5})").value(), base, kMachine, report).value();
  EXPECT_EQ(target.idle_s, 7);
  EXPECT_EQ(target.max_instances, 5);
}

}  // namespace
}  // namespace lathe::compute
