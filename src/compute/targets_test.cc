#include "compute/targets.h"

#include <map>

#include <gtest/gtest.h>

namespace lathe::compute {
namespace {

const Sizes kMachine({2, std::int64_t{8} << 30, 0}, {});

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
  EXPECT_TRUE(target.low_priority);
  std::map<std::string, std::string> said;
  for (const auto& entry : report) said[entry.field] = entry.verdict;
  EXPECT_EQ(said, (std::map<std::string, std::string>{{"location", "ignored"}, {"size", "substituted"}}));
}

TEST(ComputeDocument, ASlurmPartitionIsReadAndKept) {
  json::Report report;
  const auto target = read(R"({"name":"gpu","type":"slurm","partition":"gpu","account":"team","cores":8,"memory":"16G","gpus":1})", report);
  ASSERT_TRUE(target) << target.error().message;
  EXPECT_EQ(target->partition, (Partition{"gpu", "team", "", 8, std::int64_t{16} << 30, 1}));
  EXPECT_EQ(error(R"({"name":"gpu","type":"slurm"})").substr(0, 10), "partition:");
  EXPECT_EQ(error(R"({"name":"gpu","type":"slurm","partition":"a b"})").substr(0, 10), "partition:");
  EXPECT_EQ(error(R"({"name":"gpu","type":"slurm","partition":"p","memory":"lots"})").substr(0, 7), "memory:");
  EXPECT_EQ(error(R"({"name":"gpu","type":"slurm","partition":"p","max_instances":3})").substr(0, 14), "max_instances:");
}

TEST(ComputeDocument, ErrorsBeginWithTheField) {
  EXPECT_EQ(error(R"({"name":"a b"})").substr(0, 5), "name:");
  EXPECT_EQ(error(R"({"name":"local"})").substr(0, 5), "name:");
  EXPECT_EQ(error(R"({"name":"c","min_instances":3,"max_instances":2})").substr(0, 14), "min_instances:");
  EXPECT_EQ(error(R"({"name":"c","max_instances":"many"})"), "max_instances: must be a whole number, not \"many\"");
  EXPECT_EQ(error(R"({"name":"c","max_instance":2})").substr(0, 13), "max_instance:");
  EXPECT_EQ(error(R"({"name":"c","type":"kubernetes"})").substr(0, 5), "type:");
}

TEST(ComputeDocument, AComputeInstanceIsReadWithItsSchedules) {
  json::Report report;
  const auto target = read(R"({"$schema":"https://azuremlschemas.azureedge.net/latest/computeInstance.schema.json","name":"ci","type":"ComputeInstance",
      "size":"cpu-1","idle_time_before_shutdown_minutes":30,"setup_scripts":{},"schedules":{"compute_start_stop":[
      {"action":"stop","trigger":{"type":"cron","start_time":"2021-03-10T21:21:07","time_zone":"Pacific Standard Time","expression":"0 18 * * *"}}]}})",
                           report).value();
  EXPECT_TRUE(target.is_instance());
  EXPECT_EQ(target.instance.idle_shutdown_s, 1800);
  EXPECT_EQ(target.instance.read.size(), 1U);
  ASSERT_EQ(report.size(), 1U);
  EXPECT_EQ(report[0].field, "setup_scripts");
  const auto rules = rules_of(target, kMachine, {}).value();
  EXPECT_EQ(std::pair(rules.min_nodes, rules.max_nodes), (std::pair<std::int64_t, std::int64_t>{1, 1}));
  EXPECT_TRUE(rules.holds);
}

TEST(ComputeDocument, AnInstanceThatAsksForMoreThanThereIsGetsHalf) {
  json::Report report;
  auto target = read(R"({"name":"ci","type":"computeinstance","size":"STANDARD_DS3_v2"})", report).value();
  EXPECT_EQ(rules_of(target, kMachine, {})->node, (Resources{1, std::int64_t{4} << 30, 0}));
  target.instance.wanted = false;
  EXPECT_EQ(rules_of(target, kMachine, {})->max_nodes, 0);
}

TEST(ComputeDocument, FieldsOfTheOtherTypeAreRefused) {
  EXPECT_EQ(error(R"({"name":"ci","type":"computeinstance","max_instances":2})"), "max_instances: goes with the type amlcompute, not with computeinstance");
  EXPECT_EQ(error(R"({"name":"c","idle_time_before_shutdown":"PT30M"})").substr(0, 26), "idle_time_before_shutdown:");
  EXPECT_EQ(error(R"({"name":"ci","type":"computeinstance","idle_time_before_shutdown":"soon"})").substr(0, 26), "idle_time_before_shutdown:");
  EXPECT_EQ(error(R"({"name":"ci","type":"computeinstance","idle_time_before_shutdown":"PT30M","idle_time_before_shutdown_minutes":20})").substr(0, 26),
            "idle_time_before_shutdown:");
}

TEST(ComputeDocument, ATargetKeepsItsType) {
  json::Report report;
  Target base;
  base.name = "c";
  base.size = "all";
  EXPECT_EQ(read_target(json::parse_object(R"({"type":"computeinstance"})").value(), base, kMachine, report).error().code, Code::conflict);
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
