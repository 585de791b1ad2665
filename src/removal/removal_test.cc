#include "removal/removal.h"

#include "registry/registry.h"
#include "tracking/lineage.h"
#include "tracking/test_store.h"

namespace lathe::removal {
namespace {

const http::Principal kAnn{1, "ann", http::Role::member, {}};
const http::Principal kBob{2, "bob", http::Role::member, {}};
const http::Principal kAdmin{3, "root", http::Role::administrator, {}};

struct RemovalTest : tracking::StoreTest {
  Result<Removal> mark(const std::string& run, const http::Principal& who = kAnn) {
    return db->write([&](db::Connection& c) { return mark_run(c, run, who, now()); });
  }
  std::int64_t rows(const std::string& table) {
    return db
        ->read([&](db::Connection& c) {
          return db::first(c, "SELECT count(*) FROM " + table, [](const db::Row& row) { return row.integer(0); });
        })
        ->value();
  }
  /// How many pieces it took.
  template <class F>
  int clear(F&& work, const Enough& enough) {
    for (int pieces = 1;; ++pieces)
      if (db->write([&](db::Connection& c) { return work(c, enough); }).value()) return pieces;
  }
};

TEST_F(RemovalTest, AMarkedRunIsShownToNobody) {
  const auto run = make_run();
  ASSERT_TRUE(mark(run.run_id));
  EXPECT_EQ(db->read([&](db::Connection& c) { return tracking::find_run(c, run.run_id); }).error().code,
            Code::not_found);
  tracking::RunSearch search;
  search.experiments = {0};
  search.view = tracking::View::all;
  EXPECT_TRUE(db->read([&](db::Connection& c) { return tracking::search_runs(c, search); })->items.empty());
  EXPECT_EQ(mark(run.run_id).error().code, Code::not_found);
}

TEST_F(RemovalTest, ARunGoesPieceByPieceAndNothingOfItStays) {
  const auto run = make_run({.tags = {{"a", "b"}}});
  const auto other = make_run();
  std::vector<tracking::Metric> points;
  for (int i = 0; i < 1500; ++i) points.push_back({i % 3 == 0 ? "loss" : "odd", 0.5 * i, 7, i});  // all at one time
  ASSERT_TRUE(log(run, points));
  ASSERT_TRUE(log(other, {{"loss", 1, 1, 1}}));
  ASSERT_TRUE(db->write([&](db::Connection& c) -> Result<void> {
    LATHE_CHECK(tracking::log_params(c, run, {{"p", "1"}, {"q", "2"}}));
    LATHE_CHECK(tracking::log_datasets(c, other, {{{"shared", "d1", "local", "{}", {}, {}}, {}}}));
    return tracking::log_datasets(
        c, run, {{{"shared", "d1", "local", "{}", {}, {}}, {}}, {{"own", "d2", "local", "{}", {}, {}}, {{"t", "v"}}}});
  }));
  ASSERT_TRUE(mark(run.run_id));
  int looks = 0;
  const auto pieces = clear([&](db::Connection& c, const Enough& enough) { return clear_run(c, run.run_id, enough); },
                            [&] { return ++looks % 2 == 0; });
  EXPECT_GT(pieces, 3);
  EXPECT_EQ(rows("run"), 1);
  EXPECT_EQ(rows("metric"), 1);
  EXPECT_EQ(rows("metric_point"), 1);
  for (const auto* table : {"run_param", "run_dataset_tag"}) EXPECT_EQ(rows(table), 0) << table;
  EXPECT_EQ(rows("run_tag"), 1);  // the other's name
  EXPECT_EQ(rows("dataset"), 1);  // which the other run uses too
  EXPECT_EQ(load(other.run_id).metrics.size(), 1U);
}

TEST_F(RemovalTest, OnlyItsMakerOrAnAdministratorRemovesARun) {
  const auto run = make_run();
  EXPECT_EQ(mark(run.run_id, kBob).error().code, Code::forbidden);
  EXPECT_TRUE(mark(run.run_id, kAdmin));
}

TEST_F(RemovalTest, ARunWhoseFilesAVersionNeedsIsRefusedWithItsName) {
  const auto run = make_run();
  ASSERT_TRUE(db->write([&](db::Connection& c) {
    registry::VersionSpec spec{.name = "churn", .source = run.artifact_uri + "/model", .created_by = "ann"};
    spec.create_model = true;
    return registry::create_version(c, spec, now());
  }));
  const auto refused = mark(run.run_id);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message.find("churn:1"), std::string::npos) << refused.error().message;
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_version(c, "churn", 1, true, kAnn, now()); }));
  EXPECT_TRUE(mark(run.run_id));
}

TEST_F(RemovalTest, AJobThatRunsIsNotDeleted) {
  const auto run = make_run({.job = true});
  EXPECT_EQ(mark(run.run_id).error().code, Code::conflict);
  EXPECT_EQ(db->write([&](db::Connection& c) { return tracking::delete_run(c, run, now()); }).error().code,
            Code::conflict);
  EXPECT_EQ(db->write([&](db::Connection& c) { return tracking::delete_experiment(c, 0, now()); }).error().code,
            Code::conflict);
  ASSERT_TRUE(db->write(
      [&](db::Connection& c) { return tracking::set_run_status(c, run.run_id, tracking::RunStatus::failed, 1); }));
  EXPECT_TRUE(mark(run.run_id));
}

TEST_F(RemovalTest, AnExperimentsNameIsFreeAtOnceAndItsNumberIsNotGivenAgain) {
  const auto make = [&] {
    return db->write([&](db::Connection& c) {
      return tracking::create_experiment(c, "e", "", {{"k", "v"}}, "ann", now());
    });
  };
  const auto first = make().value();
  make_run({.experiment_id = first});
  ASSERT_TRUE(db->write([&](db::Connection& c) { return mark_experiment(c, first, kAnn, now()); }));
  EXPECT_FALSE(db->read([&](db::Connection& c) { return tracking::find_experiment(c, first); }));
  const auto second = make().value();
  EXPECT_NE(first, second);
  const auto never = [] { return false; };
  clear([&](db::Connection& c, const Enough& enough) { return hide_contents(c, first, enough); }, never);
  const auto runs =
      db->read([&](db::Connection& c) {
          return db::all(
              c, "SELECT id FROM run WHERE experiment_id = $1", [](const db::Row& row) { return row.text(0); }, first);
        }).value();
  for (const auto& run : runs)
    clear([&](db::Connection& c, const Enough& enough) { return clear_run(c, run, enough); }, never);
  clear([&](db::Connection& c, const Enough& enough) { return clear_experiment(c, first, enough); }, never);
  EXPECT_EQ(rows("experiment"), 2);  // Default and the second
}

TEST_F(RemovalTest, WhatIsDeletedLongEnoughIsExpiredOnce) {
  const auto old = make_run();
  const auto young = make_run();
  const auto early = from_micros(1'000'000);
  const auto late = from_micros(9'000'000);
  const auto experiment =
      db->write([&](db::Connection& c) { return tracking::create_experiment(c, "e", "", {}, "ann", early); }).value();
  make_run({.experiment_id = experiment});
  ASSERT_TRUE(db->write([&](db::Connection& c) -> Result<void> {
    LATHE_CHECK(tracking::delete_run(c, old, early));
    LATHE_CHECK(tracking::delete_experiment(c, experiment, early));
    return tracking::delete_run(c, young, late);
  }));
  const auto found = db->read([&](db::Connection& c) { return expired(c, from_micros(5'000'000)); }).value();
  EXPECT_EQ(found.runs, std::vector{old.run_id});
  EXPECT_EQ(found.experiments, std::vector{experiment});
}

}  // namespace
}  // namespace lathe::removal
