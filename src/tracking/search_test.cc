#include "tracking/search.h"

#include <cmath>
#include <random>

#include "base/digest.h"
#include "tracking/test_store.h"

namespace lathe::tracking {
namespace {

struct Search : StoreTest {
  RunInfo named(const std::string& name, std::int64_t start_ms, const std::vector<Metric>& metrics = {},
                const std::vector<Param>& params = {}, const std::vector<Tag>& tags = {}) {
    const auto run = make_run({.run_name = name, .start_ms = start_ms, .tags = tags});
    EXPECT_TRUE(log(run, metrics));
    EXPECT_TRUE(db->write([&](db::Connection& c) { return log_params(c, run, params); }));
    return run;
  }
  Result<Page<tracking::Run>> page(RunSearch search) {
    if (search.experiments.empty()) search.experiments = {0};
    return db->read([&](db::Connection& c) { return search_runs(c, search); });
  }
  /// The names that a search gives, joined by spaces; or the error.
  std::string names(const std::string& filter, const std::vector<std::string>& order_by = {}) {
    const auto found = page({.filter = filter, .order_by = order_by});
    if (!found) return found.error().message;
    std::string out;
    for (const auto& run : found->items) out += (out.empty() ? "" : " ") + run.info.run_name;
    return out;
  }
};

TEST_F(Search, RunsComeNewestFirst) {
  named("a", 1);
  named("b", 3);
  named("c", 2);
  EXPECT_EQ(names(""), "b c a");
  EXPECT_EQ(names("", {"start_time ASC"}), "a c b");
  EXPECT_EQ(names("", {"run_name DESC"}), "c b a");
}

TEST_F(Search, MetricsOrderAsNumbersThenNanThenMissing) {
  named("missing", 9);
  named("nan", 8, {{"m", std::nan(""), 1, 1}});
  named("one", 7, {{"m", 1, 1, 1}});
  named("minus", 6, {{"m", -5, 1, 1}});
  named("inf", 5, {{"m", INFINITY, 1, 1}});
  EXPECT_EQ(names("", {"metrics.m ASC"}), "minus one inf nan missing");
  EXPECT_EQ(names("", {"metrics.m DESC"}), "inf one minus nan missing");
  EXPECT_EQ(names("metrics.m > -100", {"metrics.m DESC"}), "inf one minus");
  const auto top = page({.limit = 2, .order_by = {"metrics.m DESC"}}).value();
  EXPECT_EQ(top.items[0].info.run_name, "inf");
  EXPECT_EQ(top.items[1].info.run_name, "one");
  const auto rest = page({.limit = 10, .order_by = {"metrics.m DESC"}, .page_token = top.next}).value();
  ASSERT_EQ(rest.items.size(), 3u);
  EXPECT_EQ(rest.items[0].info.run_name, "minus");
  EXPECT_EQ(rest.items[2].info.run_name, "missing");
  EXPECT_EQ(rest.next, "");
}

TEST_F(Search, ParametersAndTagsOrderWithMissingLast) {
  named("a", 1, {}, {{"p", "x"}}, {{"t", "1"}});
  named("b", 2, {}, {{"p", "y"}});
  named("c", 3);
  EXPECT_EQ(names("", {"params.p DESC"}), "b a c");
  EXPECT_EQ(names("", {"params.p ASC"}), "a b c");
  EXPECT_EQ(names("", {"tags.t", "start_time ASC"}), "a b c");
}

TEST_F(Search, FiltersCompareWhatWasLogged) {
  named("a", 1, {{"loss", 0.5, 1, 1}, {"val loss", 1, 1, 1}}, {{"model", "Tree"}}, {{"team", "red"}});
  named("b", 2, {{"loss", 1.5, 1, 1}}, {{"model", "tree"}});
  named("c", 3, {{"loss", std::nan(""), 1, 1}});
  EXPECT_EQ(names("metrics.loss < 1"), "a");
  EXPECT_EQ(names("metric.loss >= 0.5 AND metrics.loss <= 1.5"), "b a");
  EXPECT_EQ(names("metrics.loss != 0.5"), "c b");
  EXPECT_EQ(names("metrics.`val loss` = 1"), "a");
  EXPECT_EQ(names("params.model = 'tree'"), "b");
  EXPECT_EQ(names("params.model LIKE 'T%'"), "a");
  EXPECT_EQ(names("params.model ILIKE 'T_EE'"), "b a");
  EXPECT_EQ(names("params.model IS NULL"), "c");
  EXPECT_EQ(names("tags.team IS NOT NULL"), "a");
  EXPECT_EQ(names("tags.team != 'blue'"), "a");
  EXPECT_EQ(names("run_name = 'b'"), "b");
  EXPECT_EQ(names("attributes.`run name` LIKE '%'"), "c b a");
  EXPECT_EQ(names("start_time > 1 AND created < 3"), "b");
  EXPECT_EQ(names("status = 'RUNNING'"), "c b a");
  EXPECT_EQ(names("end_time > 0"), "");
  EXPECT_EQ(names("user_id = 'ann'"), "c b a");
}

TEST_F(Search, RunIdsMayBeListed) {
  const auto a = named("a", 1);
  named("b", 2);
  EXPECT_EQ(names("run_id IN ('" + a.run_id + "', 'x')"), "a");
  EXPECT_EQ(names("attribute.run_id NOT IN ('" + a.run_id + "')"), "b");
  EXPECT_NE(names("status IN ('RUNNING')").find("Only the 'run_id' attribute"), std::string::npos);
}

TEST_F(Search, WildcardsOfOtherLanguagesAreLetters) {
  named("a*b", 1);
  named("axb", 2);
  EXPECT_EQ(names("run_name LIKE 'a*b'"), "a*b");
  EXPECT_EQ(names("run_name LIKE 'a_b'"), "axb a*b");
  EXPECT_EQ(names("run_name LIKE 'a[x]b'"), "");
}

TEST_F(Search, ValuesNeverBecomeSql) {
  named("a", 1);
  EXPECT_EQ(names("run_name = 'a'' OR ''1''=''1'"), "");
  EXPECT_EQ(names("params.`x' OR 1=1 --` = 'y'"), "");
  EXPECT_EQ(names("", {"metrics.`x' DESC; DROP TABLE run; --`"}), "a");
}

TEST_F(Search, WhatMlflowRefusesIsInvalid) {
  for (const auto* filter : {"foo.bar = 1", "metrics.a = 'x'", "params.a = 1", "params.a > 'x'", "tags.a < 'b'",
                             "status > 'A'", "nope = 'x'", "start_time = 'x'", "start_time LIKE '1'",
                             "metrics.a IS NULL", "metrics.a LIKE 'x'", "dataset.size = 'x'", "params.a IN ('x')"}) {
    const auto found = page({.filter = filter});
    EXPECT_FALSE(found) << filter;
    EXPECT_TRUE(found || found.error().code == Code::invalid) << filter;
  }
  for (const auto* order : {"nope", "datasets.name", "foo.bar DESC", "metrics.a metrics.b"})
    EXPECT_FALSE(page({.order_by = {order}})) << order;
  EXPECT_FALSE(page({.order_by = {"metrics.a", "metric.a DESC"}}));
  EXPECT_FALSE(page({.limit = 50'001}));
  EXPECT_FALSE(page({.limit = 0}));
  EXPECT_FALSE(page({.page_token = "x"}));
}

TEST_F(Search, PagesCoverEverythingOnce) {
  for (int i = 0; i < 25; ++i) named("r" + std::to_string(i), i);
  std::vector<std::string> seen;
  std::string token;
  do {
    auto got = page({.limit = 10, .page_token = token}).value();
    for (const auto& run : got.items) seen.push_back(run.info.run_name);
    token = got.next;
  } while (!token.empty());
  ASSERT_EQ(seen.size(), 25u);
  EXPECT_EQ(seen.front(), "r24");
  EXPECT_EQ(seen.back(), "r0");
}

TEST_F(Search, ViewsShowDeletedRuns) {
  named("a", 1);
  const auto gone = named("b", 2);
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_run(c, gone, now()); }));
  EXPECT_EQ(names(""), "a");
  EXPECT_EQ(page({.view = View::deleted_only})->items.at(0).info.run_name, "b");
  EXPECT_EQ(page({.view = View::all})->items.size(), 2u);
}

TEST_F(Search, ExperimentsByNameTimeAndTag) {
  const auto make = [&](const std::string& name, const std::vector<Tag>& tags, std::int64_t at) {
    return db
        ->write([&](db::Connection& c) { return create_experiment(c, name, "", tags, "ann", from_micros(at * 1000)); })
        .value();
  };
  make("alpha", {{"k", "v"}}, 10);
  make("beta", {}, 20);
  const auto found = [&](const std::string& filter, const std::vector<std::string>& order_by = {}) {
    const auto page =
        db->read([&](db::Connection& c) { return search_experiments(c, {.filter = filter, .order_by = order_by}); });
    if (!page) return page.error().message;
    std::string out;
    for (const auto& experiment : page->items) out += experiment.name + " ";
    return out;
  };
  EXPECT_EQ(found(""), "beta alpha Default ");
  EXPECT_EQ(found("", {"name ASC"}), "Default alpha beta ");
  EXPECT_EQ(found("name LIKE 'a%'"), "alpha ");
  EXPECT_EQ(found("name ILIKE 'B%'"), "beta ");
  EXPECT_EQ(found("tags.k = 'v'"), "alpha ");
  EXPECT_EQ(found("tags.k IS NULL"), "beta Default ");
  EXPECT_EQ(found("creation_time > 10"), "beta ");
  EXPECT_EQ(found("metrics.a > 1"),
            "Invalid entity type 'metrics'. Valid entity types are ('attribute', 'tag', 'tags')");
}

/// Runs with values, starts and names that repeat, in two experiments.
struct ManyRuns : Search {
  std::mt19937 chance{5};
  std::int64_t below(std::int64_t most) { return std::uniform_int_distribution<std::int64_t>(0, most - 1)(chance); }

  void SetUp() override {
    Search::SetUp();
    const auto other = db->write([](db::Connection& c) { return create_experiment(c, "other", "", {}, "ann", now()); });
    ASSERT_EQ(other.value(), 1);
    const std::string shared(250, 'x');
    for (int i = 0; i < 120; ++i) {
      const auto run = make_run({.experiment_id = below(2), .start_ms = below(20)});
      if (below(3) > 0) {
        ASSERT_TRUE(log(run, {{"m", below(8) == 0 ? std::nan("") : static_cast<double>(below(6)) - 2, 1, 1}}));
      }
      ASSERT_TRUE(db->write([&](db::Connection& c) -> Result<void> {
        if (below(3) > 0)
          LATHE_CHECK(log_params(c, run, {{"p", below(4) == 0 ? shared + "y" : std::to_string(below(4))}}));
        if (below(2) > 0) LATHE_CHECK(set_tags(c, run, {{"t", std::string(1, static_cast<char>('a' + below(3)))}}));
        if (below(10) == 0) LATHE_CHECK(delete_run(c, run, now()));
        return {};
      }));
    }
  }
  /// All pages, joined.
  std::vector<std::string> ids(RunSearch search, std::size_t limit) {
    std::vector<std::string> out;
    search.limit = limit;
    do {
      const auto found = page(search).value();
      EXPECT_LE(found.items.size(), limit);
      for (const auto& run : found.items) out.push_back(run.info.run_id);
      search.page_token = found.next;
    } while (!search.page_token.empty());
    return out;
  }
};

TEST_F(ManyRuns, EveryWayOfFindingThemGivesTheSameRunsInTheSameOrder) {
  const std::vector<std::vector<std::int64_t>> places = {{0}, {1}, {0, 1}, {1, 7}};
  for (const auto& order : {"start_time DESC", "start_time ASC", "metrics.m ASC", "metrics.m DESC", "params.p ASC",
                            "params.p DESC", "tags.t ASC", "metrics.unknown DESC"})
    for (const auto& filter :
         {"", "params.p = '1'", "metrics.m > 0", "metrics.m != 1", "tags.t = 'a' AND metrics.m <= 1",
          "tags.t LIKE 'a%'", "params.p = 'none'", "attributes.start_time > 9 AND params.p = '2'"})
      for (const auto& experiments : places)
        for (const auto view : {View::active_only, View::deleted_only, View::all}) {
          // A second order, even one that changes nothing, makes the store sort all that the filter leaves.
          const std::vector<std::string> sorted = {
              order, std::string(order).starts_with("start") ? "end_time" : "start_time DESC"};
          const auto expected =
              ids({.experiments = experiments, .filter = filter, .view = view, .order_by = sorted}, 1000);
          for (const std::size_t limit : {7, 1000})
            ASSERT_EQ(ids({.experiments = experiments, .filter = filter, .view = view, .order_by = {order}}, limit),
                      expected)
                << order << " / " << filter << " / " << experiments.size() << " / " << limit;
        }
}

TEST_F(ManyRuns, LongTextsAreFoundByAllOfTheirCharacters) {
  const std::string shared(250, 'x');
  EXPECT_FALSE(names("params.p = '" + shared + "y'").empty());
  EXPECT_EQ(names("params.p = '" + shared + "z'"), "");
  EXPECT_EQ(names("params.p = '" + shared.substr(0, 200) + "'"), "");
}

TEST_F(ManyRuns, PagesNeitherRepeatNorHideRunsWhenOthersAreMadeMeanwhile) {
  const auto before = ids({}, 1000);
  std::vector<std::string> seen;
  RunSearch search{.limit = 5};
  do {
    const auto found = page(search).value();
    for (const auto& run : found.items) seen.push_back(run.info.run_id);
    search.page_token = found.next;
    make_run({.start_ms = 1000});
  } while (!search.page_token.empty());
  EXPECT_EQ(seen, before);
}

TEST_F(ManyRuns, ATokenOfAnotherSearchOrOfNoneIsAnsweredOrRefusedButNeverAFault) {
  const auto by_text = page({.limit = 3, .order_by = {"params.p ASC"}}).value().next;
  EXPECT_TRUE(page({.order_by = {"metrics.m ASC"}, .page_token = by_text}));
  EXPECT_TRUE(page({.page_token = by_text}));
  for (const auto* after : {"[3,0.0,1,\"a\"]", "[-1,0.0,1,\"a\"]", "[0,0.0,1]", "[0,null,1,\"a\"]",
                            "[0,0.0,\"b\",\"a\"]", "[0,\"\\u0000\",1,\"a\"]"})
    EXPECT_EQ(page({.page_token = base64_encode(std::string("{\"offset\":5,\"after\":") + after + "}")}).error().code,
              Code::invalid)
        << after;
  EXPECT_EQ(page({.limit = 1000, .page_token = base64_encode("{\"offset\": 5}")}).value().items.size(),
            ids({}, 1000).size() - 5);
}

}  // namespace
}  // namespace lathe::tracking
