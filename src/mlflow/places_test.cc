#include "mlflow/places.h"

#include "registry/registry.h"
#include "tracking/lineage.h"
#include "tracking/test_store.h"

namespace lathe::mlflow {
namespace {

TEST(Place, IsARunsAModelsOrATracesFolder) {
  EXPECT_EQ(parse_place("1/abc/artifacts/a/b")->run_id, "abc");
  EXPECT_EQ(parse_place("1/abc/artifacts")->experiment, 1);
  EXPECT_EQ(parse_place("0/models/m-1/artifacts/x")->model_id, "m-1");
  EXPECT_EQ(parse_place("0/traces/tr-1/artifacts/traces.json")->trace_id, "tr-1");
  EXPECT_EQ(parse_place("0/traces/artifacts/a/b")->run_id, "traces") << "a run may be called so";
  for (const auto* path :
       {"", "x", "1", "1/abc", "1/abc/other", "x/abc/artifacts", "1/../artifacts", "1/abc/artifacts/../../x",
        "/1/abc/artifacts", "1/models/m-1/x", "1/traces/tr-1/x", "1/traces/../artifacts/x", "1/a b/artifacts", "1//artifacts"})
    EXPECT_EQ(parse_place(path).error().code, Code::invalid) << path;
}

TEST(ArtifactPath, IsOfOurOwnSchemeOnly) {
  EXPECT_EQ(artifact_path("mlflow-artifacts:/1/r/artifacts"), "1/r/artifacts");
  EXPECT_EQ(artifact_path("mlflow-artifacts://host:80/1/r"), "1/r");
  EXPECT_EQ(artifact_path("s3://b/k"), std::nullopt);
}

struct Sources : tracking::StoreTest {
  Result<Source> resolve(const std::string& source, const std::string& run_id = "", const http::Principal& who = {}) {
    return db->read([&](db::Connection& c) { return resolve_source(c, who, source, run_id); });
  }
};

TEST_F(Sources, AreResolvedToWhereTheFilesLie) {
  const auto run = make_run();
  const auto uri = "mlflow-artifacts:/0/" + run.run_id + "/artifacts";
  EXPECT_EQ(resolve("runs:/" + run.run_id + "/model")->artifact_uri, uri + "/model");
  EXPECT_EQ(resolve(uri + "/model")->run_id, run.run_id);
  EXPECT_EQ(resolve("s3://bucket/key")->artifact_uri, "s3://bucket/key");
  const auto model =
      db->write([&](db::Connection& c) {
          return tracking::create_logged_model(c, {.source_run_id = run.run_id, .created_by = "ann"}, now());
        }).value();
  EXPECT_EQ(resolve("models:/" + model.model_id)->artifact_uri, model.artifact_uri);
  EXPECT_EQ(resolve(model.artifact_uri)->run_id, run.run_id);
}

TEST_F(Sources, OnTheServersOwnDiskAreInvalid) {
  const auto run = make_run();
  const auto uri = "mlflow-artifacts:/0/" + run.run_id + "/artifacts";
  for (const std::string& source : std::vector<std::string>{"file:///etc/",
                                                            "/etc/",
                                                            "//proc/self/root",
                                                            "file://./etc",
                                                            "http://h/../../..",
                                                            "mlflow-artifacts://h/..%2f..",
                                                            uri + "/../../x",
                                                            uri + "/%2e%2e/x",
                                                            uri + "/a?b",
                                                            uri + "/a#b",
                                                            "dbfs:/R/artifacts/a%3f/../../..",
                                                            "s3a://b/../..",
                                                            "s3://b/../x",
                                                            "s3://b/k%00",
                                                            "runs:/../x",
                                                            "models:/a",
                                                            "models:/a/x",
                                                            "",
                                                            "x",
                                                            "C:\\x",
                                                            "mlflow-artifacts:/../etc"})
    EXPECT_EQ(resolve(source).error().code, Code::invalid) << source;
}

TEST_F(Sources, OfAnotherRunAreRefused) {
  const auto mine = make_run();
  const auto other = make_run();
  EXPECT_EQ(resolve("runs:/" + other.run_id + "/model", mine.run_id).error().code, Code::invalid);
  EXPECT_EQ(resolve("mlflow-artifacts:/0/nobody/artifacts").error().code, Code::not_found);
}

TEST_F(Sources, ElsewhereAreNames) {
  EXPECT_EQ(resolve("runs:/nobody/model", "nobody")->artifact_uri, "runs:/nobody/model");
  for (const auto* source : {"s3://b/k", "S3A://b/k", "dbfs:/x", "https://host:8443/x", "wasbs://c@a.host/k"})
    EXPECT_EQ(resolve(source)->artifact_uri, source);
  for (const auto* source : {"http://localhost/x", "http://127.0.0.1:8080/x", "http://[::1]/x", "FILE:///etc", "x:/y",
                             "s3:/b/k", "s3:b", "models:/a@", "runs:/a b/x", "https://h/a?b"})
    EXPECT_FALSE(resolve(source)) << source;
}

TEST_F(Sources, OfAJobAreItsOwn) {
  const auto job = make_run({.run_id = "job1", .job = true});
  const auto other = make_run();
  http::Principal token;
  token.run = "job1";
  EXPECT_TRUE(resolve("runs:/job1/model", "job1", token));
  EXPECT_EQ(resolve("runs:/" + other.run_id + "/model", "", token).error().code, Code::forbidden);
  EXPECT_EQ(resolve("s3://bucket/key", "", token).error().code, Code::forbidden);
}

}  // namespace
}  // namespace lathe::mlflow
