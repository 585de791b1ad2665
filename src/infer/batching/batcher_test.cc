#include "infer/batching/batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace lathe::infer {
namespace {

using std::chrono::microseconds;
using Ids = std::vector<Batcher::Id>;

const Batcher::Time kStart{std::chrono::hours(1)};

Batcher::Time at(int us) {
  return kStart + microseconds(us);
}

/// What the words of Triton's documents say, as slowly as they stand there: every request in one list, the whole of it
/// walked for each question.
class SlowBatcher {
 public:
  explicit SlowBatcher(const ModelConfig& config) : config_(config), batching_(*config.dynamic_batching) {}

  bool add(const Batcher::Request& request, Batcher::Time now) {
    Waiting one{request, now, level_of(request)};
    const auto policy = policy_of(one.level);
    const auto size =
        std::count_if(all_.begin(), all_.end(), [&](const auto& each) { return each.level == one.level; });
    if (policy.max_queue_size != 0 && size >= policy.max_queue_size) return false;
    auto timeout = policy.default_timeout_microseconds;
    const auto asked = request.timeout.count();
    if (policy.allow_timeout_override && asked != 0) timeout = timeout == 0 ? asked : std::min(timeout, asked);
    if (timeout != 0) one.timeout = now + microseconds(timeout);
    all_.push_back(one);
    return true;
  }

  Batcher::Step next(Batcher::Time now, bool free) {
    Batcher::Step step;
    for (auto& each : all_) {
      if (each.request.limit > now && (each.timeout > now || each.delayed)) continue;
      if (each.request.limit <= now || policy_of(each.level).timeout_action == "REJECT") {
        const bool by_policy = !each.delayed && each.timeout <= now && each.timeout <= each.request.limit;
        step.expired.push_back({each.request.id, by_policy});
      } else {
        each.delayed = true;
      }
    }
    for (const auto& gone : step.expired) forget(gone.id);
    if (free && !all_.empty()) {
      std::stable_sort(all_.begin(), all_.end(), [](const auto& a, const auto& b) {
        if (a.level != b.level) return a.level < b.level;
        if (a.delayed != b.delayed) return b.delayed;
        return a.arrival < b.arrival;
      });
      for (std::size_t i = choose(now, step); i > 0; --i) {
        step.batch.push_back(all_.front().request.id);
        all_.erase(all_.begin());
      }
    }
    for (const auto& each : all_) {
      const auto end = each.delayed ? each.request.limit : std::min(each.timeout, each.request.limit);
      if (end != Batcher::Time::max()) step.wake = std::min(step.wake.value_or(end), end);
    }
    return step;
  }

  std::size_t size() const { return all_.size(); }

 private:
  struct Waiting {
    Batcher::Request request;
    Batcher::Time since;
    std::uint64_t level = 0;
    Batcher::Time timeout = Batcher::Time::max();
    bool delayed = false;
    Batcher::Id arrival = request.id;
  };

  std::uint64_t level_of(const Batcher::Request& request) const {
    const auto levels = static_cast<std::uint64_t>(batching_.priority_levels);
    if (request.priority >= 1 && request.priority <= levels) return request.priority;
    return static_cast<std::uint64_t>(batching_.default_priority_level);
  }

  QueuePolicy policy_of(std::uint64_t level) const {
    for (const auto& [key, policy] : batching_.priority_queue_policy)
      if (key == std::to_string(level)) return policy;
    return batching_.default_queue_policy;
  }

  void forget(Batcher::Id id) {
    std::erase_if(all_, [&](const auto& each) { return each.request.id == id; });
  }

  bool can_be_one(std::size_t count) const {
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < count; ++i) {
      rows += static_cast<std::int64_t>(all_[i].request.rows);
      if (all_[i].request.kind != all_[0].request.kind) return false;
    }
    return rows <= config_.max_batch_size;
  }

  std::int64_t rows_of(std::size_t count) const {
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < count; ++i) rows += static_cast<std::int64_t>(all_[i].request.rows);
    return rows;
  }

  std::size_t choose(Batcher::Time now, Batcher::Step& step) const {
    std::size_t largest = 0;
    for (std::size_t count = 1; count <= all_.size(); ++count)
      if (can_be_one(count)) largest = count;
    for (auto count = largest; count > 0; --count)
      for (const auto preferred : batching_.preferred_batch_size)
        if (rows_of(count) == preferred) return count;
    auto oldest = now;
    for (const auto& each : all_) oldest = std::min(oldest, each.since);
    const auto end = oldest + microseconds(batching_.max_queue_delay_microseconds);
    if (largest < all_.size() || rows_of(largest) == config_.max_batch_size || now >= end) return largest;
    step.wake = end;
    return 0;
  }

  ModelConfig config_;
  DynamicBatching batching_;
  std::vector<Waiting> all_;
};

Ids ids_of(std::vector<Batcher::Expired> expired) {
  Ids ids;
  for (const auto& each : expired) ids.push_back(each.id * 2 + (each.by_policy ? 1 : 0));
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// Any configuration that the reader of configurations lets pass.
ModelConfig any_config(std::mt19937& random) {
  const auto one_of = [&](std::initializer_list<std::int64_t> values) {
    return *(values.begin() + random() % values.size());
  };
  ModelConfig config;
  config.max_batch_size = one_of({1, 2, 4, 8, 16});
  auto& batching = config.dynamic_batching.emplace();
  for (auto rows = 1 + static_cast<std::int64_t>(random() % 6); rows <= config.max_batch_size; rows *= 2)
    if (random() % 2 == 0) batching.preferred_batch_size.push_back(rows);
  batching.max_queue_delay_microseconds = one_of({0, 0, 5, 20, 60});
  batching.priority_levels = one_of({0, 1, 3});
  if (batching.priority_levels > 0)
    batching.default_priority_level = 1 + static_cast<std::int64_t>(random()) % batching.priority_levels;
  const auto any_policy = [&] {
    QueuePolicy policy;
    if (random() % 2 == 0) policy.timeout_action = "DELAY";
    policy.default_timeout_microseconds = one_of({0, 10, 40});
    policy.allow_timeout_override = random() % 2 == 0;
    policy.max_queue_size = one_of({0, 0, 2, 5});
    return policy;
  };
  batching.default_queue_policy = any_policy();
  for (std::int64_t level = 1; level <= batching.priority_levels; ++level)
    if (random() % 3 == 0) batching.priority_queue_policy[std::to_string(level)] = any_policy();
  return config;
}

TEST(Batcher, DoesWhatTheDocumentsSay) {
  for (unsigned seed = 0; seed < 600; ++seed) {
    std::mt19937 random(seed);
    const auto config = any_config(random);
    Batcher batcher(config);
    SlowBatcher slow(config);
    int now = 0;
    for (Batcher::Id id = 1; id < 80; ++id) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(id));
      now += static_cast<int>(random() % 12);
      if (random() % 4 != 0) {
        Batcher::Request request;
        request.id = id;
        request.priority = random() % 5;
        request.rows = random() % 8 == 0 ? 0 : 1 + random() % std::min<std::size_t>(4, config.max_batch_size);
        request.kind = random() % 6 == 0 ? "other" : "usual";
        request.timeout = microseconds(random() % 3 == 0 ? random() % 50 : 0);
        if (random() % 5 == 0) request.limit = at(now + 1 + static_cast<int>(random() % 50));
        ASSERT_EQ(batcher.add(request, at(now)), slow.add(request, at(now)));
      }
      const bool free = random() % 3 == 0;
      const auto got = batcher.next(at(now), free);
      const auto expected = slow.next(at(now), free);
      ASSERT_EQ(ids_of(got.expired), ids_of(expected.expired));
      ASSERT_EQ(got.batch, expected.batch);
      ASSERT_EQ(got.wake, expected.wake);
      ASSERT_EQ(batcher.empty(), slow.size() == 0);
    }
  }
}

struct BatcherTest : testing::Test {
  ModelConfig config{
      .max_batch_size = 4, .dynamic_batching = DynamicBatching{}, .response_cache = {}, .model_warmup = {}};
  DynamicBatching& batching = *config.dynamic_batching;
};

TEST_F(BatcherTest, WithoutADelaySendsWhatIsThere) {
  Batcher batcher(config);
  for (Batcher::Id id = 1; id <= 6; ++id) batcher.add({.id = id}, at(0));
  EXPECT_EQ(batcher.next(at(0), true).batch, (Ids{1, 2, 3, 4}));
  EXPECT_EQ(batcher.next(at(0), true).batch, (Ids{5, 6}));
  EXPECT_TRUE(batcher.next(at(0), true).batch.empty());
}

TEST_F(BatcherTest, WaitsForTheDelayUnlessOneArrivesThatCompletesTheBatch) {
  batching.max_queue_delay_microseconds = 100;
  Batcher batcher(config);
  for (Batcher::Id id = 1; id <= 3; ++id) batcher.add({.id = id}, at(10));
  const auto waits = batcher.next(at(50), true);
  EXPECT_TRUE(waits.batch.empty());
  EXPECT_EQ(waits.wake, at(110));
  batcher.add({.id = 4}, at(60));
  EXPECT_EQ(batcher.next(at(60), true).batch, (Ids{1, 2, 3, 4}));
  batcher.add({.id = 5}, at(200));
  EXPECT_TRUE(batcher.next(at(299), true).batch.empty());
  EXPECT_EQ(batcher.next(at(300), true).batch, (Ids{5}));
}

TEST_F(BatcherTest, MakesTheLargestPreferredSize) {
  batching.preferred_batch_size = {2, 3};
  batching.max_queue_delay_microseconds = 100;
  Batcher batcher(config);
  for (Batcher::Id id = 1; id <= 4; ++id) batcher.add({.id = id}, at(0));
  EXPECT_EQ(batcher.next(at(0), true).batch, (Ids{1, 2, 3}));
  EXPECT_TRUE(batcher.next(at(0), true).batch.empty());
}

TEST_F(BatcherTest, ServesLevelByLevelAndCountsAQueueForEach) {
  batching.priority_levels = 3;
  batching.default_priority_level = 2;
  batching.priority_queue_policy["3"].max_queue_size = 1;
  Batcher batcher(config);
  EXPECT_TRUE(batcher.add({.id = 1, .priority = 3}, at(0)));
  EXPECT_FALSE(batcher.add({.id = 2, .priority = 3}, at(0)));
  EXPECT_TRUE(batcher.add({.id = 3}, at(0)));
  EXPECT_TRUE(batcher.add({.id = 4, .priority = 1}, at(0)));
  EXPECT_TRUE(batcher.add({.id = 5, .priority = 99}, at(0)));  // no such level: the default
  EXPECT_EQ(batcher.next(at(0), true).batch, (Ids{4, 3, 5, 1}));
}

TEST_F(BatcherTest, ADelayedRequestComesAfterThoseWhoseTimeIsNotOver) {
  batching.default_queue_policy = {.timeout_action = "DELAY", .default_timeout_microseconds = 10};
  Batcher batcher(config);
  for (Batcher::Id id = 1; id <= 3; ++id) batcher.add({.id = id}, at(static_cast<int>(id) * 5));
  EXPECT_EQ(batcher.next(at(20), true).batch, (Ids{3, 1, 2}));
}

TEST_F(BatcherTest, AnOverrideOnlyLowersTheTimeout) {
  batching.default_queue_policy = {.default_timeout_microseconds = 50, .allow_timeout_override = true};
  Batcher batcher(config);
  batcher.add({.id = 1, .timeout = microseconds(500)}, at(0));
  batcher.add({.id = 2, .timeout = microseconds(20)}, at(0));
  const auto first = batcher.next(at(0), false);
  EXPECT_EQ(first.wake, at(20));
  EXPECT_EQ(ids_of(batcher.next(at(20), false).expired), (Ids{5}));
  EXPECT_EQ(ids_of(batcher.next(at(50), false).expired), (Ids{3}));
  EXPECT_TRUE(batcher.empty());
}

}  // namespace
}  // namespace lathe::infer
