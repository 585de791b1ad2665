#include "jobs/document.h"

#include <gtest/gtest.h>

namespace lathe::jobs {
namespace {

Result<Asked> read(const char* text, json::Report* report = nullptr) {
  json::Report own;
  return read_document(json::parse_object(text).value(), report != nullptr ? *report : own);
}
std::string error(const char* text) {
  const auto asked = read(text);
  return asked ? "" : asked.error().message;
}

TEST(JobDocument, AzuresDefaultsHold) {
  const auto asked = read(R"({"command":"true"})").value();
  EXPECT_FALSE(asked.name.empty());
  EXPECT_EQ(asked.compute, "local");
  EXPECT_EQ(asked.timeout_s, 0);
  EXPECT_EQ(read(R"({"command":"true","inputs":{"d":{"path":"azureml:d:1"}}})")->inputs[0].type, "uri_folder");
}

TEST(JobDocument, LiteralsBecomeTextAsAzureWritesThem) {
  const auto asked = read(R"({"command":"x","inputs":{"a":1,"b":0.1,"c":true,"d":"t",
      "e":{"type":"integer","value":4},"f":{"type":"number","default":2.5}}})").value();
  std::vector<std::string> values;
  for (const auto& input : asked.inputs) values.push_back(input.literal.value_or("none"));
  EXPECT_EQ(values, (std::vector<std::string>{"1", "0.1", "True", "t", "4", "2.5"}));
}

TEST(JobDocument, WhatIsNotHonouredIsSaidFieldByField) {
  json::Report report;
  const auto asked = read(R"({"command":"x","compute":"serverless","services":{},"identity":{"type":"managed"},
      "resources":{"instance_count":1,"shm_size":"2g"},"inputs":{"d":{"path":"/x","mode":"rw_mount"}},
      "outputs":{"o":{"path":"azureml://datastores/d/paths/p"}}})", &report);
  ASSERT_TRUE(asked.has_value()) << asked.error().message;
  std::map<std::string, std::string> said;
  for (const auto& entry : report) said[entry.field] = entry.verdict;
  EXPECT_EQ(said, (std::map<std::string, std::string>{{"compute", "substituted"}, {"services", "ignored"}, {"identity", "ignored"},
                                                      {"resources.shm_size", "ignored"}, {"inputs.d.mode", "substituted"},
                                                      {"outputs.o.path", "substituted"}}));
}

TEST(JobDocument, SeveralNodesNeedACluster) {
  EXPECT_TRUE(
      error(R"({"command":"x","resources":{"instance_count":2}})").starts_with("resources.instance_count: local"));
  EXPECT_EQ(read(R"({"command":"x","compute":"azureml:c","resources":{"instance_count":2}})")->distribution.nodes, 2);
}

TEST(JobDocument, ErrorsBeginWithTheField) {
  EXPECT_EQ(error(R"({})").substr(0, 8), "command:");
  EXPECT_EQ(error(R"({"command":"x","inputs":{"a b":1}})").substr(0, 11), "inputs.a b:");
  EXPECT_EQ(error(R"({"command":"x","inputs":{"a":[1]}})").substr(0, 9), "inputs.a:");
  EXPECT_EQ(error(R"({"command":"x","inputs":{"a":{"type":"uri_file"}}})").substr(0, 14), "inputs.a.path:");
  EXPECT_EQ(error(R"({"command":"x","outputs":{"a":{"name":"no/name"}}})").substr(0, 15), "outputs.a.name:");
  EXPECT_EQ(error(R"({"command":"x","limits":{"timeout":0}})").substr(0, 15), "limits.timeout:");
  EXPECT_EQ(error(R"({"command":"x","limits":{"timeuot":1}})").substr(0, 15), "limits.timeuot:");
  EXPECT_EQ(error(R"({"command":"x","type":"pipeline"})").substr(0, 5), "type:");
}

TEST(JobDocument, ANullInputIsAsIfItWereNotThere) {
  EXPECT_TRUE(read(R"({"command":"x","inputs":{"a":null}})")->inputs.empty());
}

}  // namespace
}  // namespace lathe::jobs
