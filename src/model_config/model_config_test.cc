#include "model_config/model_config.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

Result<ModelConfig> read(std::string_view text) {
  return read_model_config(*json::parse_object(text), "model_config");
}

std::string error_of(std::string_view text) {
  const auto config = read(text);
  return config ? "" : config.error().message;
}

constexpr std::string_view kWhole = R"({
  "max_batch_size": 8,
  "dynamic_batching": {
    "preferred_batch_size": [8, 4, 4], "max_queue_delay_microseconds": "500",
    "priority_levels": 2, "default_priority_level": 2,
    "default_queue_policy": {"timeout_action": "DELAY", "default_timeout_microseconds": 1000},
    "priority_queue_policy": {"1": {"allow_timeout_override": true, "max_queue_size": 3}}},
  "response_cache": {"enable": true},
  "model_warmup": [{"name": "w", "batch_size": 2, "count": 3,
                    "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "random_data": true}}}]})";

TEST(ModelConfig, ReadsTritonsForm) {
  const auto config = read(kWhole);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->max_batch_size, 8);
  const auto& batching = *config->dynamic_batching;
  EXPECT_EQ(batching.preferred_batch_size, (std::vector<std::int64_t>{4, 8}));
  EXPECT_EQ(batching.max_queue_delay_microseconds, 500);
  EXPECT_EQ(batching.default_queue_policy.timeout_action, "DELAY");
  EXPECT_EQ(batching.priority_queue_policy.at("1").max_queue_size, 3);
  EXPECT_TRUE(config->caches());
  EXPECT_EQ(config->model_warmup.at(0).inputs.at("x").dims, std::vector<std::int64_t>{3});
}

TEST(ModelConfig, ReadsWhatItPrints) {
  const auto config = read(kWhole);
  const auto again = read(json::print(json::to_json(*config)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *config);
  const auto stored = json::from_json<ModelConfig>(json::to_json(*config));
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(*stored, *config);
}

TEST(ModelConfig, RefusesByName) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"({"max_batch_size": -1})", "model_config.max_batch_size: must be a whole number from 0"},
      {R"({"dynamic_batching": {}})", "model_config.max_batch_size: dynamic_batching needs it"},
      {R"({"max_batch_size": 4, "dynamic_batching": null})", "write {} for its defaults"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"preferred_batch_size": [5]}})", "from 1 to 4, not 5"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"priority_levels": 2}})",
       "default_priority_level: must be from 1"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"default_priority_level": 1}})", "must be from 0 to 0"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"priority_queue_policy": {"1": {}}}})", "is not a level"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"default_queue_policy": {"timeout_action": "DROP"}}})",
       "default_queue_policy.timeout_action: must be REJECT or DELAY"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"preserve_ordering": true, "priority_levels": 2,
           "default_priority_level": 1}})",
       "excludes priorities"},
      {R"({"max_batch_size": 4, "dynamic_batching": {"preserve_ordering": true,
           "default_queue_policy": {"timeout_action": "DELAY"}}})",
       "excludes the timeout_action DELAY"},
      {R"({"response_cache": {"enable": "yes"}})", "response_cache.enable: must be true or false"},
      {R"({"model_warmup": [{}]})", "model_warmup[0].inputs: is missing"},
      {R"({"model_warmup": [{"batch_size": 2, "inputs": {}}]})", "model_warmup[0].batch_size: must be a whole number"},
      {R"({"model_warmup": [{"inputs": {"x": {"data_type": "FP32"}}}]})", "inputs.x.data_type"},
      {R"({"model_warmup": [{"inputs": {"x": {"data_type": "TYPE_FP32", "input_data_file": "f"}}}]})",
       "use zero_data or random_data"},
      {R"({"model_warmup": [{"inputs": {"x": {"data_type": "TYPE_FP32"}}}]})", "give one of zero_data"},
      {R"({"model_warmup": [{"inputs": {"x": {"data_type": "TYPE_STRING", "random_data": true}}}]})",
       "no random texts"}};
  for (const auto& [text, expected] : cases) {
    EXPECT_NE(error_of(text).find(expected), std::string::npos) << text << "\n" << error_of(text);
  }
}

TEST(ModelConfig, TellsOfEachForeignField) {
  json::Report report;
  const auto check = [&](std::string_view text) {
    const auto checked = check_model_config_fields(*json::parse_object(text), "model_config", report);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(check(kWhole), "");
  EXPECT_TRUE(report.empty());
  EXPECT_EQ(check(R"({"platform": "onnxruntime_onnx", "input": []})"), "");
  EXPECT_EQ(report.size(), 2U);
  EXPECT_NE(check(R"({"instance_group": []})").find("instance_count"), std::string::npos);
  EXPECT_NE(check(R"({"max_batch": 1})").find("max_batch_size"), std::string::npos);
  EXPECT_NE(check(R"({"dynamic_batching": {"delay": 1}})").find("model_config.dynamic_batching.delay"),
            std::string::npos);
}

}  // namespace
}  // namespace lathe
