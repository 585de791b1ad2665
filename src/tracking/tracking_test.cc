#include <cmath>
#include <limits>

#include "tracking/history.h"
#include "tracking/test_store.h"

namespace lathe::tracking {
namespace {

struct Tracking : StoreTest {
  Result<void> params(const RunInfo& run, const std::vector<Param>& values) {
    return db->write([&](db::Connection& c) { return log_params(c, run, values); });
  }
  std::vector<Point> history(const RunInfo& run, const std::string& key) {
    return db->read([&](db::Connection& c) { return metric_history(c, run, key, 1000, ""); }).value().points;
  }
  Result<std::int64_t> experiment(const std::string& name) {
    return db->write([&](db::Connection& c) { return create_experiment(c, name, "", {}, "ann", now()); });
  }
};

TEST_F(Tracking, TheDefaultExperimentExistsAndOthersCountFromOne) {
  EXPECT_EQ(db->read([](db::Connection& c) { return find_experiment(c, kDefaultExperiment); })->name, "Default");
  EXPECT_EQ(experiment("a"), 1);
  EXPECT_EQ(experiment("b"), 2);
  EXPECT_EQ(db->read([](db::Connection& c) { return find_experiment(c, 2); })->artifact_location,
            "mlflow-artifacts:/2");
}

TEST_F(Tracking, ExperimentNamesAreUniqueAlsoAmongDeletedOnes) {
  const auto id = experiment("a").value();
  EXPECT_EQ(experiment("a").error().code, Code::conflict);
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_experiment(c, id, now()); }));
  EXPECT_EQ(experiment("a").error().code, Code::conflict);
  EXPECT_EQ(db->write([&](db::Connection& c) { return get_or_create_experiment(c, "a", "ann", now()); }).error().code,
            Code::conflict);
}

TEST_F(Tracking, DeletingAnExperimentTakesItsRunsAndRestoringBringsThoseBack) {
  const auto id = experiment("a").value();
  const auto kept = make_run({.experiment_id = id});
  const auto gone = make_run({.experiment_id = id});
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_run(c, gone, now()); }));
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_experiment(c, id, now()); }));
  EXPECT_EQ(load(kept.run_id).info.stage, Stage::deleted);
  ASSERT_TRUE(db->write([&](db::Connection& c) { return restore_experiment(c, id, now()); }));
  EXPECT_EQ(load(kept.run_id).info.stage, Stage::active);
  EXPECT_EQ(load(gone.run_id).info.stage, Stage::deleted);
}

TEST_F(Tracking, LoggingTogetherAnswersEachAsIfItCameAlone) {
  const auto one = make_run();
  const auto two = make_run({.owner = one.run_id});
  const auto gone = make_run();
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_run(c, gone, now()); }));
  ASSERT_TRUE(log(one, {{"a", 1, 10, 5}}));
  const http::Principal person{1, "ann", http::Role::member, {}};
  const http::Principal job_of_one{1, "ann", http::Role::member, one.run_id};
  std::vector<PointsToLog> all = {
      {one.run_id, person, {{"a", 2, 11, 6}}},
      {two.run_id, job_of_one, {{"b", 3, 12, 1}, {"a", 3, 12, 1}}},
      {one.run_id, person, {{"a", 9, 13, 9}, {"bad\n", 1, 13, 9}}},  // nothing of it is kept
      {one.run_id, person, {{"fresh", 9, 13, 9}, {"a", 9, -1, 9}}},
      {gone.run_id, person, {{"a", 1, 1, 1}}},
      {std::string(32, '0'), person, {{"a", 1, 1, 1}}},
      {gone.run_id, job_of_one, {{"a", 1, 1, 1}}},
      {"no id!", person, {{"a", 1, 1, 1}}},
      {one.run_id, person, {{"a", 0, 14, 5}, {"a", 2, 11, 6}}},  // older, and one that is there already
  };
  std::vector<PointsToLog*> pointers;
  for (auto& points : all) pointers.push_back(&points);
  ASSERT_TRUE(db->write([&](db::Connection& c) { return log_together(c, pointers); }));

  for (const auto& points : all) {
    const auto alone = db->read([&](db::Connection& c) -> Result<void> {
      LATHE_TRY(const auto run, writable_run(c, points.who, points.run_id));
      return {};
    });
    if (alone) continue;
    ASSERT_FALSE(points.outcome);
    EXPECT_EQ(points.outcome.error().message, alone.error().message);
    EXPECT_EQ(points.outcome.error().code, alone.error().code);
  }
  const std::vector<bool> good = {true, true, false, false, false, false, false, false, true};
  for (std::size_t i = 0; i < good.size(); ++i) EXPECT_EQ(all[i].outcome.has_value(), good[i]) << i;
  EXPECT_NE(all[2].outcome.error().message.find("metrics[1].name"), std::string::npos);

  const auto metrics = load(one.run_id).metrics;
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].value, 2);
  EXPECT_EQ(metrics[0].step, 6);
  EXPECT_EQ(history(one, "a").size(), 3u);
  EXPECT_EQ(load(two.run_id).metrics.size(), 2u);
  EXPECT_EQ(history(two, "b").size(), 1u);
}

TEST_F(Tracking, ARunGetsAnIdANameAndAnArtifactFolder) {
  const auto run = make_run();
  EXPECT_EQ(run.run_id.size(), 32u);
  EXPECT_EQ(run.artifact_uri, "mlflow-artifacts:/0/" + run.run_id + "/artifacts");
  const auto loaded = load(run.run_id);
  ASSERT_EQ(loaded.tags.size(), 1u);
  EXPECT_EQ(loaded.tags[0].key, "mlflow.runName");
  EXPECT_EQ(loaded.tags[0].value, run.run_name);
  EXPECT_EQ(loaded.info.user, "ann");
}

TEST_F(Tracking, ARunOfAGivenIdIsMadeOnce) {
  make_run({.run_id = "brave_otter_1"});
  const auto again =
      db->write([](db::Connection& c) { return create_run(c, {.run_id = "brave_otter_1", .created_by = "ann"}); });
  EXPECT_EQ(again.error().code, Code::conflict);
}

TEST_F(Tracking, WhatCreatingARunAnswersIsWhatIsKept) {
  const std::vector<Tag> tags = {{"z", "first"}, {"a", std::string(9000, 'x')}, {"z", "last"}};
  const auto made = db->write([&](db::Connection& c) { return create_run(c, {.created_by = "ann", .tags = tags}); });
  ASSERT_TRUE(made);
  const auto loaded = load(made->info.run_id);
  const auto shown = [](const tracking::Run& run) {
    auto out = run.info.run_name + run.info.artifact_uri + std::to_string(run.info.number);
    for (const auto& tag : run.tags) out.append("\n").append(tag.key).append("=").append(tag.value);
    return out;
  };
  EXPECT_EQ(shown(*made), shown(loaded));
  EXPECT_EQ(loaded.tags.back().value, "last");
}

TEST_F(Tracking, TheRunNameAndItsTagMustAgree) {
  const auto run = make_run({.tags = {{"mlflow.runName", "mine"}}});
  EXPECT_EQ(run.run_name, "mine");
  const auto bad = db->write([](db::Connection& c) {
    return create_run(c, {.run_name = "a", .created_by = "ann", .tags = {{"mlflow.runName", "b"}}});
  });
  EXPECT_EQ(bad.error().code, Code::invalid);
  ASSERT_TRUE(db->write([&](db::Connection& c) { return set_tag(c, run.run_id, "mlflow.runName", "new"); }));
  EXPECT_EQ(load(run.run_id).info.run_name, "new");
}

TEST_F(Tracking, TheLatestPointIsTheGreatestByStepTimeAndValue) {
  const auto run = make_run();
  ASSERT_TRUE(log(run, {{"loss", 0.5, 100, 2}, {"loss", 0.9, 300, 1}}));
  EXPECT_EQ(load(run.run_id).metrics.at(0).value, 0.5);
  ASSERT_TRUE(log(run, {{"loss", 0.4, 100, 2}}));
  EXPECT_EQ(load(run.run_id).metrics.at(0).value, 0.5);
  ASSERT_TRUE(log(run, {{"loss", 0.6, 100, 2}}));
  EXPECT_EQ(load(run.run_id).metrics.at(0).value, 0.6);
  EXPECT_EQ(history(run, "loss").size(), 4u);
}

TEST_F(Tracking, AnIdenticalPointIsDroppedSilently) {
  const auto run = make_run();
  ASSERT_TRUE(log(run, {{"loss", 0.5, 100, 2}, {"loss", 0.5, 100, 2}}));
  ASSERT_TRUE(log(run, {{"loss", 0.5, 100, 2}}));
  EXPECT_EQ(history(run, "loss").size(), 1u);
}

TEST_F(Tracking, NanAndInfinitiesAreKept) {
  const auto run = make_run();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  ASSERT_TRUE(log(run, {{"a", std::nan(""), 1, 1}, {"b", kInf, 1, 1}, {"c", -kInf, 1, 1}}));
  const auto metrics = load(run.run_id).metrics;
  EXPECT_TRUE(std::isnan(metrics[0].value));
  EXPECT_EQ(metrics[1].value, std::numeric_limits<double>::max());
  EXPECT_EQ(metrics[2].value, std::numeric_limits<double>::lowest());
}

TEST_F(Tracking, AParameterIsLoggedOnce) {
  const auto run = make_run();
  ASSERT_TRUE(params(run, {{"depth", "3"}}));
  EXPECT_TRUE(params(run, {{"depth", "3"}}));
  const auto other = params(run, {{"width", "1"}, {"depth", "5"}});
  EXPECT_EQ(other.error().code, Code::invalid);
  EXPECT_TRUE(other.error().message.starts_with(
      "Changing param values is not allowed. Param with key='depth' was already logged with value='3'"));
  EXPECT_EQ(load(run.run_id).params.size(), 1u) << "the whole batch is undone";
  EXPECT_EQ(params(run, {{"a", "1"}, {"a", "1"}}).error().code, Code::invalid);
}

TEST_F(Tracking, LongParameterAndTagValuesAreCut) {
  const auto run = make_run();
  ASSERT_TRUE(params(run, {{"p", std::string(6001, 'x')}}));
  ASSERT_TRUE(db->write([&](db::Connection& c) { return set_tags(c, run, {{"t", std::string(8001, 'x')}}); }));
  EXPECT_EQ(load(run.run_id).params[0].value.size(), 6000u);
  EXPECT_EQ(load(run.run_id).tags.back().value.size(), 8000u);
}

TEST_F(Tracking, ADeletedRunIsNotWritten) {
  const auto run = make_run();
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_run(c, run, now()); }));
  const auto found = db->read([&](db::Connection& c) { return writable_run(c, {}, run.run_id); });
  EXPECT_EQ(found.error().message,
            "The run " + run.run_id + " must be in the 'active' state. Current state is deleted.");
}

TEST_F(Tracking, AClientNeverEndsAJob) {
  const auto job = make_run({.run_id = "brave_otter_1", .job = true});
  const auto changed = db->write([&](db::Connection& c) {
                           return update_run(c, job, {.status = RunStatus::finished, .end_ms = 5, .run_name = "named"});
                         }).value();
  EXPECT_EQ(changed.status, RunStatus::running);
  EXPECT_EQ(load(job.run_id).info.status, RunStatus::running);
  EXPECT_EQ(load(job.run_id).info.end_ms, std::nullopt);
  EXPECT_EQ(load(job.run_id).info.run_name, "named");
  ASSERT_TRUE(db->write([&](db::Connection& c) { return set_run_status(c, job.run_id, RunStatus::failed, 7); }));
  EXPECT_EQ(load(job.run_id).info.status, RunStatus::failed);
}

TEST_F(Tracking, AJobsTokenWritesItsOwnRunAndTheRunsItMade) {
  const auto job = make_run({.run_id = "job1", .job = true});
  const auto child = make_run({.owner = "job1"});
  const auto grandchild = make_run({.tags = {{"mlflow.parentRunId", child.run_id}}, .owner = "job1"});
  const auto other = make_run();
  http::Principal token;
  token.run = "job1";
  EXPECT_TRUE(check_may_write(token, job));
  EXPECT_TRUE(check_may_write(token, child));
  EXPECT_TRUE(check_may_write(token, grandchild));
  EXPECT_EQ(check_may_write(token, other).error().code, Code::forbidden);
  const auto tags = load(child.run_id).tags;
  EXPECT_EQ(tags.at(0).key, "mlflow.parentRunId");
  EXPECT_EQ(tags.at(0).value, "job1");
  const auto foreign = db->write([&](db::Connection& c) {
    return create_run(c, {.created_by = "ann", .tags = {{"mlflow.parentRunId", other.run_id}}, .owner = "job1"});
  });
  EXPECT_EQ(foreign.error().code, Code::forbidden);
}

}  // namespace
}  // namespace lathe::tracking
