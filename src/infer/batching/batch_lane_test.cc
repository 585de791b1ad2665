#include "infer/batching/batch_lane.h"

#include <gtest/gtest.h>

#include <condition_variable>

#include "infer/protocols/tensor_json.h"

namespace lathe::infer {
namespace {

/// Doubles one number a row; refuses numbers below zero.
class Doubler : public Model {
 public:
  std::string_view platform() const override { return "test"; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }
  Result<void> run(std::span<const Tensor> inputs, std::span<const std::size_t>,
                   std::vector<Tensor>& outputs) const override {
    outputs = {inputs.front()};
    outputs.front().name = "y";
    for (std::size_t i = 0; i < outputs.front().count(); ++i) {
      auto& value = outputs.front().as<float>()[i];
      if (value < 0) return fail(Code::invalid, "below zero");
      value *= 2;
    }
    return {};
  }

 private:
  std::vector<TensorInfo> inputs_{{"x", DataType::fp32, {-1, 1}}};
  std::vector<TensorInfo> outputs_{{"y", DataType::fp32, {-1, 1}}};
  std::vector<std::string> columns_;
};

struct BatchLaneTest : testing::Test {
  std::vector<std::function<void()>> posted;
  BatchLane::Tools tools{[this](std::function<void()> work) { posted.push_back(std::move(work)); }, {}, nullptr};
  std::vector<std::pair<int, http::Reply>> answers;  ///< number of the request, in the order in which they came
  std::vector<std::unique_ptr<std::string>> bodies;
  std::vector<std::unique_ptr<http::Request>> requests;

  std::shared_ptr<const Deployment> deploy(const ModelConfig& config, int instances = 1) {
    DesiredDeployment wanted;
    wanted.name = "d";
    wanted.instances = instances;
    wanted.model.config = config;
    return std::make_shared<Deployment>("e", wanted, std::make_shared<Doubler>(), std::chrono::nanoseconds(1),
                                        std::make_shared<Stats>());
  }

  void ask(const std::shared_ptr<const Deployment>& deployment, int value, std::chrono::nanoseconds woke = {}) {
    const auto number = static_cast<int>(requests.size());
    auto& body = *bodies.emplace_back(std::make_unique<std::string>("[[" + std::to_string(value) + "]]"));
    body = R"({"instances": )" + body + "}";
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
    auto& request = *requests.emplace_back(std::make_unique<http::Request>());
    request.body = body;
    deployment->batches->ask(tools, deployment, Operation::invocations, request, woke,
                             [this, number](http::Reply reply) { answers.emplace_back(number, std::move(reply)); });
  }

  /// Runs what was posted as the `which`th.
  void run(std::size_t which = 0) {
    const auto work = std::move(posted.at(which));
    posted.erase(posted.begin() + static_cast<std::ptrdiff_t>(which));
    work();
  }
};

ModelConfig config_of(std::int64_t rows) {
  ModelConfig config;
  config.max_batch_size = rows;
  config.dynamic_batching.emplace();
  return config;
}

TEST_F(BatchLaneTest, WhatComesWhileTheInstanceIsBusyRunsTogether) {
  const auto deployment = deploy(config_of(8));
  for (int value = 1; value <= 4; ++value) ask(deployment, value);
  ASSERT_EQ(posted.size(), 1U);
  EXPECT_EQ(deployment->pending(), 3U);
  run();
  ASSERT_EQ(posted.size(), 1U);
  run();
  ASSERT_EQ(answers.size(), 4U);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(answers[static_cast<std::size_t>(i)].second.body,
              R"({"predictions":[[)" + std::to_string(2 * (i + 1)) + "]]}");
  const auto batches = deployment->stats->batches();
  EXPECT_EQ(batches.at(1).count, 1U);
  EXPECT_EQ(batches.at(3).count, 1U);
  EXPECT_EQ(deployment->stats->totals().runs, 2U);
  EXPECT_TRUE(posted.empty());
}

TEST_F(BatchLaneTest, AnInstanceIsFreeOnceItHasComputed) {
  const auto deployment = deploy(config_of(1));
  ask(deployment, 1);
  ask(deployment, 2);
  run();
  EXPECT_EQ(answers.size(), 1U);
  EXPECT_EQ(posted.size(), 1U);
  run();
  EXPECT_EQ(answers.size(), 2U);
}

TEST_F(BatchLaneTest, OnlyTheBadRequestOfABatchFails) {
  const auto deployment = deploy(config_of(8));
  for (const int value : {1, 2, -3, 4}) ask(deployment, value);
  run();
  run();
  ASSERT_EQ(answers.size(), 4U);
  for (const auto& [number, reply] : answers) EXPECT_EQ(reply.status, number == 2 ? 400 : 200) << number;
}

TEST_F(BatchLaneTest, AnswersKeepTheirOrderWhenTheyShall) {
  for (const bool preserve : {false, true}) {
    answers.clear();
    requests.clear();
    auto config = config_of(1);
    config.dynamic_batching->preserve_ordering = preserve;
    const auto deployment = deploy(config, 2);
    ask(deployment, 1);
    ask(deployment, 2);
    run(1);  // the second is done first
    EXPECT_EQ(answers.size(), preserve ? 0U : 1U);
    run(0);
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_EQ(answers[0].first, preserve ? 0 : 1);
  }
}

TEST_F(BatchLaneTest, OnceTheClockHasEndedNothingWaitsToFillABatch) {
  auto config = config_of(8);
  config.dynamic_batching->max_queue_delay_microseconds = 60'000'000;
  const auto deployment = deploy(config);
  ask(deployment, 1);
  EXPECT_TRUE(posted.empty());
  tools.clock.finish();
  ASSERT_EQ(posted.size(), 1U);
  run();
  ask(deployment, 2);
  ASSERT_EQ(posted.size(), 1U);
  run();
  EXPECT_EQ(answers.size(), 2U);
}

TEST(AlarmClock, CallsInTheOrderOfTimes) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> called;
  AlarmClock clock;
  const auto now = std::chrono::steady_clock::now();
  const auto note = [&](int number) {
    return [&, number](bool) {
      const std::lock_guard lock(mutex);
      called.push_back(number);
      changed.notify_all();
    };
  };
  clock.at(now + std::chrono::hours(1), note(3));
  clock.at(now + std::chrono::milliseconds(2), note(2));
  clock.at(now + std::chrono::milliseconds(1), note(1));
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return called.size() == 2; }));
  }
  clock.finish();
  EXPECT_EQ(called, (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(clock.at(now, note(4)));
}

TEST_F(BatchLaneTest, TheTimeInWhichTheModelWokeCountsAsWaiting) {
  constexpr std::chrono::nanoseconds kWoke = std::chrono::seconds(3);
  const auto deployment = deploy(config_of(1));
  ask(deployment, 1, kWoke);
  run();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_GE(deployment->stats->totals().phase_ns[0], static_cast<std::uint64_t>(kWoke.count()));
}

}  // namespace
}  // namespace lathe::infer
