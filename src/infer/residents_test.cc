#include "infer/residents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <future>

namespace lathe::infer {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A model that says nothing but that it ran.
class Plain : public Model {
 public:
  std::string_view platform() const override { return "plain"; }
  const std::vector<TensorInfo>& inputs() const override { return infos_; }
  const std::vector<TensorInfo>& outputs() const override { return infos_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }
  Result<void> run(std::span<const Tensor>, std::span<const std::size_t>, std::vector<Tensor>&) const override {
    return {};
  }

 private:
  std::vector<TensorInfo> infos_{{"x", DataType::fp32, {-1, 4}}};
  std::vector<std::string> columns_;
};

/// A gate that is closed until it is opened.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

struct Loads {
  std::atomic<int> count{0};
  std::atomic<bool> fail{false};
  Gate* gate = nullptr;
};

SleepingModel::Terms terms(Loads& loads, std::int64_t bytes = 10, std::optional<milliseconds> quiet = {}) {
  return {[&loads]() -> Result<LoadedModel> {
            ++loads.count;
            if (loads.gate != nullptr) loads.gate->pass();
            if (loads.fail) return lathe::fail(Code::invalid, "the file is gone");
            return LoadedModel{std::make_unique<Plain>(), {}, {}, 0};
          },
          bytes,
          quiet,
          "a model",
          {}};
}

std::shared_ptr<const SleepingModel> add(Residents& residents, SleepingModel::Terms terms) {
  return residents.add(std::make_shared<const Plain>(), std::move(terms));
}

Result<SleepingModel::Held> woken(const SleepingModel& model) {
  std::promise<Result<SleepingModel::Held>> known;
  model.wake([&](Result<SleepingModel::Held> held) { known.set_value(std::move(held)); });
  return known.get_future().get();
}

bool becomes(const std::function<bool()>& condition) {
  for (const auto end = std::chrono::steady_clock::now() + seconds(60); std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

TEST(Residents, TheLeastRecentlyUsedLeavesForOneThatDoesNotFit) {
  Loads loads;
  Residents residents(25);
  const auto first = add(residents, terms(loads));
  const auto second = add(residents, terms(loads));
  ASSERT_TRUE(first->use());
  const auto third = add(residents, terms(loads));
  EXPECT_TRUE(first->awake());
  EXPECT_FALSE(second->awake());
  EXPECT_TRUE(third->awake());

  EXPECT_TRUE(woken(*second));
  EXPECT_FALSE(first->awake());
  EXPECT_EQ(loads.count, 1);
}

TEST(Residents, WhatARequestHoldsStaysAndTheBudgetIsExceeded) {
  Loads loads;
  Residents residents(10);
  const auto first = add(residents, terms(loads));
  auto held = first->use();
  const auto second = add(residents, terms(loads));
  EXPECT_TRUE(first->awake());
  EXPECT_TRUE(second->awake());
  held.reset();
  EXPECT_TRUE(becomes([&] { return !first->awake(); }));
  EXPECT_TRUE(second->awake());
}

TEST(Residents, OneThatIsLargerThanTheBudgetStaysUntilAnotherComes) {
  Loads loads;
  Residents residents(5);
  const auto first = add(residents, terms(loads));
  residents.make_room(0);
  EXPECT_TRUE(first->awake());
  const auto second = add(residents, terms(loads));
  EXPECT_FALSE(first->awake());
  EXPECT_TRUE(second->awake());
}

TEST(Residents, WithoutABudgetAllStay) {
  Loads loads;
  Residents residents(0);
  std::vector<std::shared_ptr<const SleepingModel>> models;
  for (int i = 0; i < 20; ++i) models.push_back(add(residents, terms(loads, std::int64_t{1} << 40)));
  for (const auto& each : models) EXPECT_TRUE(each->awake());
}

TEST(Residents, AllWhoAskASleepingModelShareOneLoad) {
  Loads loads;
  Gate gate;
  loads.gate = &gate;
  Residents residents(10);
  const auto model = add(residents, terms(loads));
  const auto other = add(residents, terms(loads));
  ASSERT_FALSE(model->awake());
  std::atomic<int> answered{0};
  for (int i = 0; i < 50; ++i) model->wake([&](const auto& held) { answered += held && *held ? 1 : 0; });
  EXPECT_EQ(answered, 0);
  gate.open();
  EXPECT_TRUE(becomes([&] { return answered == 50; }));
  EXPECT_EQ(loads.count, 1);
  EXPECT_TRUE(woken(*model));  // at once
  EXPECT_EQ(loads.count, 1);
}

TEST(Residents, OfThoseThatWakeAtOnceSoManyStayAsTheBudgetHolds) {
  Loads loads;
  Gate gate;
  Residents residents(10);
  std::vector<std::shared_ptr<const SleepingModel>> models;
  for (int i = 0; i < 4; ++i) models.push_back(add(residents, terms(loads)));
  loads.gate = &gate;
  std::atomic<int> answered{0};
  for (int i = 0; i < 3; ++i)
    models[static_cast<std::size_t>(i)]->wake([&](const auto& held) { answered += held ? 1 : 0; });
  EXPECT_TRUE(becomes([&] { return loads.count == 3; }));
  gate.open();
  EXPECT_TRUE(becomes([&] { return answered == 3; }));
  const auto is_awake = [](const auto& each) { return each->awake(); };
  EXPECT_TRUE(becomes([&] { return std::count_if(models.begin(), models.end(), is_awake) == 1; }));
}

TEST(Residents, AfterAQuietTimeAModelSleepsAndARunWakesIt) {
  Loads loads;
  Residents residents(0);
  const auto model = add(residents, terms(loads, 10, milliseconds(1)));
  EXPECT_TRUE(becomes([&] { return !model->awake(); }));
  EXPECT_EQ(model->platform(), "plain");
  EXPECT_EQ(model->inputs().front().name, "x");
  std::vector<Tensor> outputs;
  EXPECT_TRUE(model->run({}, {}, outputs));
  EXPECT_EQ(loads.count, 1);
  EXPECT_TRUE(becomes([&] { return !model->awake(); }));
}

TEST(Residents, AModelThatIsHeldDoesNotFallAsleep) {
  Loads loads;
  Residents residents(0);
  const auto model = add(residents, terms(loads, 10, milliseconds(1)));
  auto held = woken(*model);
  ASSERT_TRUE(held);
  const auto other = add(residents, terms(loads, 10, milliseconds(1)));
  EXPECT_TRUE(becomes([&] { return !other->awake(); }));
  EXPECT_TRUE(model->awake());
  held = SleepingModel::Held();
  EXPECT_TRUE(becomes([&] { return !model->awake(); }));
}

TEST(Residents, ALoadThatFailsSaysWhyAndIsNotTriedAgainAtOnce) {
  Loads loads;
  std::atomic<int> changes{0};
  Residents residents(10);
  auto told = terms(loads);
  told.on_change = [&] { ++changes; };
  const auto model = add(residents, std::move(told));
  const auto other = add(residents, terms(loads));
  loads.fail = true;
  EXPECT_EQ(model->trouble(), "");
  for (int i = 0; i < 3; ++i) {
    const auto held = woken(*model);
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().code, Code::unavailable);
    EXPECT_NE(held.error().message.find("the file is gone"), std::string::npos) << held.error().message;
  }
  EXPECT_EQ(loads.count, 1);
  EXPECT_NE(model->trouble().find("the file is gone"), std::string::npos) << model->trouble();
  EXPECT_EQ(changes, 1);
  loads.fail = false;
  EXPECT_TRUE(becomes([&] { return woken(*model).has_value(); }));
  EXPECT_EQ(model->trouble(), "");
  EXPECT_EQ(changes, 2);
}

TEST(Residents, AtTheEndThoseThatWakeAreWaitedForAndNoOthersWake) {
  Loads loads;
  Residents residents(10);
  const auto model = add(residents, terms(loads));
  const auto other = add(residents, terms(loads));
  std::atomic<int> answered{0};
  model->wake([&](const auto& held) { answered += held ? 1 : 0; });
  residents.finish();
  EXPECT_EQ(answered, 1);
  const auto late = woken(*other);
  EXPECT_TRUE(late || late.error().code == Code::unavailable);
}

}  // namespace
}  // namespace lathe::infer
