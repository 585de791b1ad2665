#include "infer/cluster/model_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

struct ModelFiles : testing::Test {
  fs::path root = fs::temp_directory_path() / ("lathe-model-files." + random_hex(8));
  fs::path models = root / "models";
  ModelFiles() { fs::create_directories(models); }
  ~ModelFiles() override { fs::remove_all(root); }

  static json::Object document(const std::string& content, const char* more = "") {
    const auto digest = sha256_hex(content);
    return json::parse_object(R"({"generation":7,"endpoints":[{"name":"e","keys":["k"],"traffic":{"blue":100},
      "deployments":[{"name":"blue","model":{"name":"m","version":"1","format":"xgboost","folder":"/servers/own",
      "file":"a/m.json","files":[{"path":"a/m.json","sha256":")" +
                              digest + R"("}])" + more + "}}]}]}")
        .value();
  }
  static const json::Object& deployment(const json::Object& document) {
    return document.at("endpoints").at(0).at("deployments").at(0).as_object();
  }
  LocalState local(const json::Object& server, const json::Object& before = {}) const {
    return localize(server, before, models, is_whole).value();
  }
};

auto giving(const std::string& content) {
  return [content](const std::string&, const fs::path& file) { return write_file(file, content); };
}

TEST_F(ModelFiles, AModelIsServedOnceItsFilesAreHere) {
  const auto server = document("model");
  const auto first = local(server);
  EXPECT_TRUE(first.document.at("endpoints").at(0).at("deployments").as_array().empty());
  EXPECT_EQ(first.document.at("endpoints").at(0).at("traffic").at("blue"), 100);
  ASSERT_EQ(first.missing.size(), 1U);
  EXPECT_EQ(first.missing[0].deployment, "blue");

  ASSERT_TRUE(fetch(first.missing[0], giving("model")));
  const auto second = local(server);
  EXPECT_TRUE(second.missing.empty());
  const fs::path folder = deployment(second.document).at("model").at("folder").as_string().c_str();
  EXPECT_EQ(read_file(folder / "a/m.json").value(), "model");
}

TEST_F(ModelFiles, WhatCameDamagedIsNeverServedAndIsFetchedAgain) {
  const auto server = document("model");
  const auto missing = local(server).missing.at(0);
  const auto got = fetch(missing, giving("mod"));
  ASSERT_FALSE(got);
  EXPECT_NE(got.error().message.find("a/m.json came damaged"), std::string::npos);
  EXPECT_EQ(local(server).missing.size(), 1U);
  ASSERT_TRUE(fetch(missing, giving("model")));
  EXPECT_TRUE(local(server).missing.empty());
  ASSERT_TRUE(write_file(missing.folder / "a/m.json", "other"));  // the disk's doing
  EXPECT_EQ(local(server).missing.size(), 1U);
  ASSERT_TRUE(fetch(missing, giving("model")));
  EXPECT_TRUE(local(server).missing.empty());
}

TEST_F(ModelFiles, TheOldModelStaysUntilTheNewOneIsHere) {
  const auto old = document("old");
  ASSERT_TRUE(fetch(local(old).missing.at(0), giving("old")));
  const auto before = local(old).document;
  const auto fresh = document("new");
  const auto during = local(fresh, before);
  EXPECT_EQ(deployment(during.document), deployment(before));
  ASSERT_TRUE(fetch(during.missing.at(0), giving("new")));
  const auto after = local(fresh, before).document;
  EXPECT_NE(deployment(after).at("model").at("folder"), deployment(before).at("model").at("folder"));
  forget_models(models, after);
  EXPECT_TRUE(local(old).missing.size() == 1 && local(fresh).missing.empty());
}

TEST_F(ModelFiles, PythonIsLeftToOthers) {
  const auto state = local(document("model", R"(,"python":{"interpreter":"/usr/bin/python3"})"));
  EXPECT_TRUE(state.missing.empty());
  ASSERT_EQ(state.not_taken.size(), 1U);
  EXPECT_EQ(state.not_taken[0].deployment, "blue");
}

TEST_F(ModelFiles, AFileLiesInItsModelsFolder) {
  auto server = document("model");
  server["endpoints"].at(0).at("deployments").at(0).at("model").at("files").at(0).as_object()["path"] = "../../m.json";
  const auto refused = localize(server, {}, models, is_whole);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("outside its folder"), std::string::npos);
}

}  // namespace
}  // namespace lathe::infer
