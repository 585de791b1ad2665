#include "tracking/history.h"

#include <algorithm>
#include <cmath>

#include "base/digest.h"
#include "tracking/search.h"
#include "tracking/series.h"
#include "tracking/test_store.h"

namespace lathe::tracking {
namespace {

struct History : StoreTest {
  HistoryPage page(const RunInfo& run, std::size_t limit, const std::string& token = "") {
    return db->read([&](db::Connection& c) { return metric_history(c, run, "a", limit, token); }).value();
  }
  std::vector<std::int64_t> sampled_steps(const std::vector<std::string>& runs, std::optional<StepRange> range,
                                          std::size_t most) {
    const auto found = db->read([&](db::Connection& c) { return sampled_history(c, runs, "a", range, most); }).value();
    std::vector<std::int64_t> out;
    for (const auto& run : found)
      for (const auto& point : run.points) out.push_back(point.step);
    return out;
  }
  /// Points 0, 1, 2, ... with `value(i)`, a second apart.
  template <class F>
  RunInfo run_with(std::int64_t count, F value) {
    const auto run = make_run();
    std::vector<Metric> metrics;
    for (std::int64_t i = 0; i < count; ++i) metrics.push_back({"a", value(i), i * 1000, i});
    EXPECT_TRUE(log(run, metrics));
    return run;
  }
  Result<SeriesAnswer> series(const SeriesQuery& query) {
    return db->read([&](db::Connection& c) { return read_series(c, query); });
  }
};

TEST_F(History, IsInTheOrderOfTimeStepAndValue) {
  const auto run = make_run();
  ASSERT_TRUE(log(run, {{"a", 3, 20, 0}, {"a", 2, 10, 1}, {"a", 1, 10, 0}}));
  const auto points = page(run, 10).points;
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[0].value, 1);
  EXPECT_EQ(points[1].value, 2);
  EXPECT_EQ(points[2].value, 3);
}

TEST_F(History, PagesHoldEveryPointOnceAlsoThoseOfOneMomentAndThoseLoggedMeanwhile) {
  const auto run = make_run();
  std::vector<Metric> metrics;
  for (int i = 0; i < 50; ++i) metrics.push_back({"a", static_cast<double>(i % 7), i / 10, i % 5});
  metrics.push_back({"a", std::nan(""), 3, 2});
  ASSERT_TRUE(log(run, metrics));
  const auto all = page(run, 1000).points;
  std::vector<Point> seen;
  std::string token;
  do {
    const auto part = page(run, 7, token);
    seen.insert(seen.end(), part.points.begin(), part.points.end());
    token = part.next;
    ASSERT_TRUE(log(run, {{"a", -1, 0, static_cast<std::int64_t>(seen.size()) - 1000}}));  // before where we are
  } while (!token.empty());
  ASSERT_EQ(seen.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(std::isnan(seen[i].value), std::isnan(all[i].value));
    EXPECT_TRUE(std::isnan(all[i].value) || seen[i].value == all[i].value);
    EXPECT_EQ(seen[i].step, all[i].step);
    EXPECT_EQ(seen[i].timestamp_ms, all[i].timestamp_ms);
  }
}

TEST_F(History, ATokenOfMlflowsOwnNamesAnOffset) {
  const auto run = run_with(10, [](auto i) { return static_cast<double>(i); });
  EXPECT_EQ(page(run, 3, base64_encode(R"({"offset": 4})")).points.front().step, 4);
  for (const auto* bad : {R"({"offset":1,"after":[1,2,"x"]})", R"({"offset":1,"after":[{},2,3]})"}) {
    const auto refused =
        db->read([&](db::Connection& c) { return metric_history(c, run, "a", 3, base64_encode(bad)); });
    EXPECT_EQ(refused.error().code, Code::invalid) << bad;
  }
}

TEST_F(History, SampledStepsAreSpreadOverThoseOfAllRunsWithEachRunsEnds) {
  const auto one = run_with(100, [](auto) { return 1.0; });
  const auto two = make_run();
  ASSERT_TRUE(log(two, {{"a", 1, 5, 33}, {"a", 1, 6, 205}, {"a", 2, 7, 205}}));
  const std::vector<std::string> runs{one.run_id, two.run_id};
  const auto found = sampled_steps(runs, std::nullopt, 10);  // 101 steps: 0..99 and 205
  const std::vector<std::int64_t> expected{0, 10, 20, 30, 33, 40, 50, 60, 70, 80, 90, 99, 33, 205, 205};
  EXPECT_EQ(found, expected);
  const std::vector<std::int64_t> zoomed{40, 41, 42};
  EXPECT_EQ(sampled_steps(runs, StepRange{40, 42}, 10), zoomed);
  EXPECT_TRUE(sampled_steps(runs, StepRange{300, 400}, 10).empty());
}

TEST_F(History, AShortSeriesIsWholeInTheOrderOfItsAxis) {
  const auto run = make_run();
  ASSERT_TRUE(log(run, {{"a", 1, 30, 1}, {"a", std::nan(""), 20, 2}, {"a", 3, 10, 3}}));
  auto answer = series({.runs = {run.run_id}, .keys = {"a", "unknown"}}).value().series;
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_EQ(answer[0].total, 3);
  EXPECT_EQ(answer[0].steps, (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(answer[0].values, (std::vector<std::optional<double>>{1, std::nullopt, 3}));
  answer = series({.runs = {run.run_id}, .keys = {"a"}, .by = Axis::time}).value().series;
  EXPECT_EQ(answer[0].timestamps, (std::vector<std::int64_t>{10, 20, 30}));
  answer = series({.runs = {run.run_id}, .keys = {"a"}, .from = 2, .to = 3}).value().series;
  EXPECT_EQ(answer[0].steps, (std::vector<std::int64_t>{2, 3}));
  answer = series({.runs = {run.run_id}, .keys = {"a"}, .by = Axis::time, .from = 10, .to = 20}).value().series;
  EXPECT_EQ(answer[0].timestamps, (std::vector<std::int64_t>{10, 20}));
}

TEST_F(History, ALongSeriesKeepsItsPeaks) {
  const auto run = run_with(50'000, [](auto i) { return i == 31'415 ? 9.0 : std::sin(static_cast<double>(i) / 50); });
  const auto answer = series({.runs = {run.run_id}, .keys = {"a"}, .points = 200}).value().series.front();
  EXPECT_EQ(answer.total, 50'000);
  EXPECT_LE(answer.steps.size(), 200U);
  EXPECT_GE(answer.steps.size(), 100U);
  EXPECT_TRUE(std::is_sorted(answer.steps.begin(), answer.steps.end()));
  EXPECT_EQ(answer.steps.front(), 0);
  EXPECT_EQ(answer.steps.back(), 49'999);
  const auto peak = std::find(answer.steps.begin(), answer.steps.end(), 31'415);
  ASSERT_NE(peak, answer.steps.end());
  EXPECT_EQ(answer.values[static_cast<std::size_t>(peak - answer.steps.begin())], 9.0);
}

TEST_F(History, AVeryLongSeriesIsSampledWhereItHasPoints) {
  // Two bursts of 100,000 points, a millisecond apart, and a month of nothing between them.
  const auto run = make_run();
  constexpr std::int64_t kBurst = 100'000, kMonth = 30LL * 86'400'000;
  for (const std::int64_t start : {std::int64_t{0}, kMonth}) {
    std::vector<Metric> metrics;
    for (std::int64_t i = 0; i < kBurst; ++i)
      metrics.push_back({"a", static_cast<double>(i), start + i, (start == 0 ? 0 : kBurst) + i});
    ASSERT_TRUE(log(run, metrics));
  }
  const auto answer = series({.runs = {run.run_id}, .keys = {"a"}, .points = 500}).value().series.front();
  EXPECT_FALSE(answer.total.has_value());
  EXPECT_EQ(answer.steps.front(), 0);
  EXPECT_EQ(answer.steps.back(), 2 * kBurst - 1);
  EXPECT_GE(answer.steps.size(), 250U);
  EXPECT_LE(answer.steps.size(), 500U);
  for (std::size_t i = 1; i < answer.steps.size(); ++i)  // no hole of more than 2% of the points
    EXPECT_LT(answer.steps[i] - answer.steps[i - 1], 2 * kBurst / 50);
}

TEST_F(History, WhatASeriesMayBeAskedIsBounded) {
  const auto run = make_run();
  EXPECT_EQ(series({.runs = {run.run_id}}).error().code, Code::invalid);
  EXPECT_EQ(series({.runs = {"nobody"}, .keys = {"a"}}).error().code, Code::not_found);
  EXPECT_EQ(series({.runs = {run.run_id}, .keys = std::vector<std::string>(101, "a")}).error().code, Code::invalid);
  for (const std::size_t points : {0, 9, 10'001})
    EXPECT_EQ(series({.runs = {run.run_id}, .keys = {"a"}, .points = points}).error().code, Code::invalid);
}

TEST_F(History, AStoreOfAnOlderSchemaKeepsWhatRunsLogged) {
  auto older = db::migrations();
  std::erase_if(older, [](const db::Migration& step) { return step.number > 8; });
  const auto file = (folder / "older.db").string();
  {
    const auto before = db::open_sqlite(file, older).value();
    ASSERT_TRUE(before->write([](db::Connection& c) {
      return c.script(R"sql(
        INSERT INTO run (number, id, experiment_id, name, user_name, status, start_ms, stage, artifact_uri, job, created_by)
        VALUES (7, 'r', 0, 'old', 'ann', 'FINISHED', 123, 'active', 'mlflow-artifacts:/0/r/artifacts', 0, 'ann');
        INSERT INTO metric (id, run, experiment_id, key, step, timestamp_ms, value, is_nan)
        VALUES (3, 7, 0, 'a', 2, 20, 0, 1), (4, 7, 0, 'b', 0, 5, 9, 0);
        INSERT INTO metric_point (metric, timestamp_ms, step, value, is_nan)
        VALUES (3, 20, 2, 0, 1), (3, 10, 1, 0.5, 0), (4, 5, 0, 9, 0);
        INSERT INTO run_param (run, key, value) VALUES (7, 'p', 'x');
        INSERT INTO run_tag (run, key, value) VALUES (7, 't', 'y'))sql");
    }));
  }
  db = db::open_sqlite(file, db::migrations()).value();
  const auto run = load("r");
  const auto points = page(run.info, 10).points;
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].value, 0.5);
  EXPECT_TRUE(std::isnan(points[1].value));
  EXPECT_EQ(run.metrics.size(), 2U);
  ASSERT_EQ(run.params.size(), 1U);
  EXPECT_EQ(run.params[0].value, "x");
  ASSERT_EQ(run.tags.size(), 1U);
  EXPECT_EQ(run.tags[0].value, "y");
  const auto found = db->read([](db::Connection& c) {
    return search_runs(c, {.experiments = {0}, .filter = "params.p = 'x' AND tags.t = 'y' AND metrics.b = 9"});
  });
  EXPECT_EQ(found->items.size(), 1U);
  ASSERT_TRUE(log(run.info, {{"c", 1, 1, 1}}));  // and has an id that no other metric has
  EXPECT_EQ(load("r").metrics.size(), 3U);
  EXPECT_EQ(page(run.info, 10).points.size(), 2U);
}

}  // namespace
}  // namespace lathe::tracking
