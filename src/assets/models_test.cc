#include "assets/models.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"
#include "tracking/tracking.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

const http::Principal kAda{1, "ada", http::Role::administrator, {}};

struct ModelsTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-models-test-" + random_hex(4));
  std::unique_ptr<db::Database> db;
  std::unique_ptr<Assets> assets;
  std::unique_ptr<storage::Storage> artifacts;
  std::optional<JobOrigin> origin;
  std::unique_ptr<Models> models;

  ModelsTest() {
    fs::create_directories(folder / "data");
    fs::create_directories(folder / "model");
    EXPECT_TRUE(write_file(folder / "model" / "model.ubj", "bytes", 0644));
    db = db::open_sqlite((folder / "data" / "lathe.db").string(), db::migrations()).value();
    assets = Assets::open(*db, folder / "data").value();
    artifacts = storage::open_folder(folder / "data" / "artifacts").value();
    models = std::make_unique<Models>(*assets, *artifacts, [this](db::Connection&, const std::string& job) {
      return Result<std::optional<JobOrigin>>(job == "job1" ? origin : std::nullopt);
    });
  }
  ~ModelsTest() override { fs::remove_all(folder); }

  Result<json::Value> create(json::Object document) { return models->create(document, kAda, true, false); }

  /// A finished run with a logged model below "model".
  void log_model(const std::string& run) {
    ASSERT_TRUE(db->write([&](db::Connection& c) -> Result<void> {
      tracking::RunSpec spec;
      spec.run_id = run;
      spec.created_by = "ada";
      LATHE_TRY(const auto made, tracking::create_run(c, spec));
      LATHE_CHECK(tracking::log_params(c, made.info, {{"max_depth", "3"}}));
      return tracking::log_metrics(c, made.info, {{"accuracy", 0.5, 1, 0}});
    }));
    const auto place = folder / "data" / "artifacts" / "0" / run / "artifacts" / "model";
    fs::create_directories(place);
    ASSERT_TRUE(write_file(place / "model.ubj", "trained"));
    ASSERT_TRUE(write_file(place / "MLmodel", "flavors:\n  xgboost: {data: model.ubj}\n"));
  }
};

TEST_F(ModelsTest, AFolderBecomesVersionsThatNeverChange) {
  const auto first = create({{"name", "m"}, {"path", (folder / "model").string()}, {"tags", {{"k", 1}}}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->at("version").as_string(), "1");
  EXPECT_EQ(first->at("type").as_string(), "custom_model");
  EXPECT_EQ(first->at("files").at(0).at("sha256").as_string(), sha256_hex("bytes"));
  EXPECT_EQ(first->at("triple").at("data").as_string(), "unknown");
  EXPECT_EQ(first->at("triple").at("hyperparameters").as_string(), "unknown");
  ASSERT_TRUE(write_file(folder / "model" / "model.ubj", "other", 0644));
  EXPECT_EQ(create({{"name", "m"}, {"version", 1}, {"path", (folder / "model").string()}}).error().code, Code::conflict);
  EXPECT_EQ(create({{"name", "m"}, {"path", (folder / "model").string()}})->at("version").as_string(), "2");

  const auto version = models->find("azureml:m:1").value();
  EXPECT_EQ(read_file(models->folder(version).value() / "model.ubj").value(), "bytes");
  const auto listed = version.source.substr(std::string("mlflow-artifacts:/").size());
  EXPECT_EQ(read_file(folder / "data" / "artifacts" / listed / "model.ubj").value(), "bytes");
}

TEST_F(ModelsTest, ARunsModelKnowsTheTriple) {
  log_model("job1");
  origin = JobOrigin{"python train.py", std::string(64, 'c'), std::string(64, 'e'), "the default environment", {}, {}};
  origin->data.push_back({"train", "azureml:credit:1", std::string(64, 'd')});
  origin->parameters["rounds"] = "60";
  const auto made = create({{"name", "m"}, {"path", "azureml://jobs/job1/outputs/artifacts/paths/model/"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->at("type").as_string(), "mlflow_model");
  const auto& triple = made->at("triple");
  EXPECT_EQ(triple.at("algorithm").at("code").as_string(), std::string(64, 'c'));
  EXPECT_EQ(triple.at("data").at(0).at("digest").as_string(), std::string(64, 'd'));
  EXPECT_EQ(triple.at("hyperparameters").at("max_depth").as_string(), "3");
  EXPECT_EQ(triple.at("hyperparameters").at("rounds").as_string(), "60");
  EXPECT_EQ(triple.at("metrics").at("accuracy").as_double(), 0.5);
  EXPECT_EQ(triple.at("run_id").as_string(), "job1");
}

TEST_F(ModelsTest, AVersionMadeThroughMlflowIsTheSameModelAndKeepsItsFiles) {
  log_model("run1");
  const auto version = db->write([&](db::Connection& c) {
                           registry::VersionSpec spec;
                           spec.name = "m";
                           spec.source = "mlflow-artifacts:/0/run1/artifacts/model";
                           spec.run_id = "run1";
                           spec.created_by = "ada";
                           spec.create_model = true;
                           return registry::create_version(c, spec, now());
                         })
                           .value();
  const auto shown = models->show(version).value();
  EXPECT_TRUE(shown.at("flavors").as_object().contains("xgboost"));
  EXPECT_EQ(shown.at("triple").at("algorithm").at("code").as_string(), "unknown");
  EXPECT_EQ(shown.at("triple").at("hyperparameters").at("max_depth").as_string(), "3");
  fs::remove_all(folder / "data" / "artifacts");
  EXPECT_EQ(read_file(models->folder(version).value() / "model.ubj").value(), "trained");
}

TEST_F(ModelsTest, AnotherDataFolderGetsTheFilesFromTheArtifactsAgain) {
  const auto made = create({{"name", "m"}, {"path", (folder / "model").string()}});
  ASSERT_TRUE(made) << made.error().message;
  const auto version = models->find("azureml:m:1").value();
  fs::create_directories(folder / "other");
  const auto other = Assets::open(*db, folder / "other").value();
  Models again(*other, *artifacts, [](db::Connection&, const std::string&) { return Result<std::optional<JobOrigin>>(std::nullopt); });
  EXPECT_EQ(read_file(again.folder(version).value() / "model.ubj").value(), "bytes");

  fs::remove_all(folder / "other");
  fs::create_directories(folder / "other");
  const auto third = Assets::open(*db, folder / "other").value();
  Models changed(*third, *artifacts, [](db::Connection&, const std::string&) { return Result<std::optional<JobOrigin>>(std::nullopt); });
  const auto file = *artifacts->folder() / version.source.substr(std::string("mlflow-artifacts:/").size()) / "model.ubj";
  fs::remove(file);
  ASSERT_TRUE(write_file(file, "forged", 0644));
  EXPECT_EQ(changed.content(version).error().code, Code::conflict);
}

TEST_F(ModelsTest, WhatCannotBeAModelIsRefusedWithItsField) {
  fs::create_directories(folder / "empty");
  const auto path = (folder / "model").string();
  for (const auto& [document, field] : std::vector<std::pair<json::Object, std::string>>{
           {{{"name", "m"}, {"path", (folder / "empty").string()}}, "path"},
           {{{"name", "m"}, {"path", "runs:/nobody/model"}}, "path"},
           {{{"name", "m"}, {"path", "https://host/model"}}, "path"},
           {{{"name", "m"}, {"path", path}, {"version", "1.0"}}, "version"},
           {{{"name", "m"}, {"path", path}, {"type", "mlflow_model"}}, "type"},
           {{{"name", "m"}, {"path", path}, {"flavours", 1}}, "flavours"}}) {
    const auto refused = create(document);
    ASSERT_FALSE(refused) << json::print(document);
    EXPECT_TRUE(refused.error().message.starts_with(field)) << refused.error().message;
  }
}

}  // namespace
}  // namespace lathe::assets
