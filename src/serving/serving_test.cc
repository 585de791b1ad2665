#include <gtest/gtest.h>

#include <filesystem>

#include "base/digest.h"
#include "base/ids.h"
#include "serving/data_plane.h"
#include "serving/endpoint.h"
#include "serving/model_format.h"
#include "serving/traffic.h"

namespace lathe::serving {
namespace {

namespace fs = std::filesystem;

Result<Traffic> traffic(const std::string& text) { return read_traffic(json::parse_object(text).value(), {"blue", "green"}); }

TEST(Traffic, AddsUpToHundredOrNothing) {
  EXPECT_EQ(traffic(R"({"blue": 90, "green": 10})")->at("blue"), 90);
  EXPECT_TRUE(traffic(R"({"blue": 0})"));
  EXPECT_TRUE(traffic("{}"));
  EXPECT_EQ(traffic(R"({"blue": 50})").error().message, "traffic: the percents must add up to 100, or all be 0, not to 50");
  for (const char* bad : {R"({"blue": 101})", R"({"blue": -1})", R"({"blue": 12.5})", R"({"blue": "all"})", R"({"blue": null})",
                          R"({"bleu": 100})"})
    EXPECT_FALSE(traffic(bad)) << bad;
  EXPECT_NE(traffic(R"({"bleu": 100})").error().message.find("\"blue\""), std::string::npos);
}

TEST(Traffic, IsMirroredToOneDeploymentThatGetsNone) {
  const auto mirror = [](const std::string& text) { return read_mirror(json::parse_object(text).value(), {"blue", "green"}); };
  EXPECT_EQ(*mirror(R"({"green": 50})"), (Traffic{{"green", 50}}));
  EXPECT_EQ(*mirror(R"({"green": 0})"), Traffic{});
  for (const char* bad : {R"({"green": 51})", R"({"green": 10, "blue": 10})", R"({"red": 10})", R"({"green": "ten"})"})
    EXPECT_FALSE(mirror(bad)) << bad;
  EXPECT_TRUE(check_mirror({{"green", 10}}, {{"blue", 100}, {"green", 0}}));
  EXPECT_FALSE(check_mirror({{"green", 10}}, {{"blue", 90}, {"green", 10}}));
}

assets::Tree tree(const std::vector<std::string>& paths) {
  std::vector<assets::TreeFile> files;
  for (const auto& path : paths) files.push_back({path, std::string(64, 'a'), 1});
  return assets::make_tree(std::move(files)).value();
}

json::Value flavors(const char* text) { return json::parse(text).value(); }

TEST(ModelFormat, IsWhatMlmodelSaysOrWhatTheFilesAreNamed) {
  const auto said = find_format(flavors(R"({"xgboost": {"data": "m.json"}, "python_function": {}})"), tree({"MLmodel", "m.json"}));
  EXPECT_EQ(said->format + " " + said->file, "xgboost m.json");
  EXPECT_EQ(find_format(flavors(R"({"onnx": {"data": "model.onnx"}})"), tree({"MLmodel", "model.onnx"}))->format, "onnx");
  EXPECT_EQ(find_format(flavors("{}"), tree({"deep/model.ubj", "readme.md"}))->file, "deep/model.ubj");
  EXPECT_EQ(find_format(flavors(R"({"lathe_native": {"data": "model.native.json"}})"), tree({"MLmodel", "model.native.json", "model.pkl"}))->format,
            "native");
  EXPECT_EQ(find_format(flavors("{}"), tree({"model.native.json", "model.pkl"}))->format, "native");
  EXPECT_EQ(find_format(flavors("{}"), tree({"model.json"}))->format, "xgboost");
  EXPECT_EQ(find_format(flavors("{}"), tree({"net.pt", "labels.json"}))->format, "torchscript");
  EXPECT_EQ(find_format(flavors("{}"), tree({"net.onnx", "labels.json"}))->format, "onnx");
  EXPECT_EQ(find_format(flavors(R"({"sklearn": {}, "python_function": {}})"), tree({"MLmodel", "model.pkl"}))->format, "pyfunc");
  EXPECT_EQ(find_format(flavors(R"({"pytorch": {}, "python_function": {}})"), tree({"MLmodel", "data/model.pth"}))->format, "pyfunc");
}

TEST(ModelFormat, WhatCannotBeServedIsRefusedWithWhatCan) {
  for (const auto& [said, files] : std::vector<std::pair<const char*, std::vector<std::string>>>{
           {R"({"sklearn": {}})", {"MLmodel", "model.pkl"}},
           {R"({"pytorch": {}})", {"MLmodel", "data/model.pth"}},
           {"{}", {"model.pkl"}},
           {"{}", {"notes.txt"}}}) {
    const auto refused = find_format(flavors(said), tree(files));
    ASSERT_FALSE(refused) << said;
    EXPECT_NE(refused.error().message.find("XGBoost"), std::string::npos) << refused.error().message;
  }
  EXPECT_FALSE(find_format(flavors("{}"), tree({"a.onnx", "b.onnx"})));
  EXPECT_FALSE(find_format(flavors(R"({"xgboost": {"data": "gone.ubj"}})"), tree({"MLmodel"})));
}

TEST(ModelFormat, ColumnsComeFromTheSignature) {
  EXPECT_EQ(feature_names("signature:\n  inputs: '[{\"name\": \"a\", \"type\": \"double\"}, {\"name\": \"b\"}]'\n"),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(feature_names("signature:\n  inputs: '[{\"type\": \"tensor\"}]'\n").empty());
  EXPECT_TRUE(feature_names("flavors: {}").empty());
  EXPECT_TRUE(feature_names(": :\n").empty());
}

TEST(Reported, IsReadWithWhatIsMissing) {
  const auto reported = parse_reported(
      R"({"generation": 3, "rest": "http://h:1", "deployments": [{"endpoint": "e", "deployment": "d", "state": "ready"}], "x": 1})");
  ASSERT_TRUE(reported);
  EXPECT_EQ(reported->generation, 3);
  EXPECT_EQ(reported->shown, 3);
  EXPECT_EQ(reported->find("e", "d")->generation, 3);
  ASSERT_NE(reported->find("e", "d"), nullptr);
  EXPECT_EQ(reported->find("e", "other"), nullptr);
  EXPECT_FALSE(parse_reported("[]"));
}

TEST(Reported, TellsOfEachDeploymentHowFarItIs) {
  const auto reported = parse_reported(
      R"({"generation": 3, "shown": 7, "deployments": [{"endpoint": "e", "deployment": "d", "generation": 6}]})");
  ASSERT_TRUE(reported);
  EXPECT_EQ(reported->shown, 7);
  EXPECT_EQ(reported->find("e", "d")->generation, 6);
}

TEST(Access, OriginsHavePortsThatAre) {
  const auto read = [](const std::string& origin) {
    Access access;
    json::Report report;
    const auto done = read_access(json::Object{{"cors", json::Object{{"allowed_origins", json::Array{json::Value(origin)}}}}}, access, report);
    return done ? access.cors->allowed_origins.front() : std::string();
  };
  for (const char* good : {"https://a.example.com", "http://localhost:3000", "https://a:65535", "http://[::1]:8080", "http://[::1]", "*"})
    EXPECT_EQ(read(good), good);
  for (const char* bad : {"https://a:0", "https://a:65536", "https://a:", "https://a:http", "https://a:1:2", "https://:80",
                          "http://[::1", "http://[::1]x", "http://[::1]:99999", "https://a:080000"})
    EXPECT_EQ(read(bad), "") << bad;
}

struct RowsTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-serving-test-" + random_hex(4));
  std::unique_ptr<db::Database> db;
  RowsTest() {
    fs::create_directories(folder);
    db = db::open_sqlite((folder / "lathe.db").string(), db::migrations()).value();
  }
  ~RowsTest() override { fs::remove_all(folder); }

  static Endpoint endpoint(const std::string& name) {
    Endpoint out;
    out.name = name;
    out.primary_key = "one";
    out.secondary_key = "two";
    out.created_by = "ada";
    return out;
  }
  static Deployment deployment(const std::string& name) {
    Deployment out;
    out.endpoint = "e";
    out.name = name;
    out.state = "Creating";
    out.created_by = "ada";
    out.spec.model_name = "m";
    out.spec.model_version = "3";
    out.spec.files = {{"model.ubj", std::string(64, 'a'), 5}};
    return out;
  }
};

TEST_F(RowsTest, TheDesiredStateHoldsHashesOfKeysAndOnlyWhatIsServed) {
  auto text = db->write([](db::Connection& c) -> Result<std::string> {
    LATHE_CHECK(insert_endpoint(c, endpoint("e")));
    LATHE_CHECK(put_deployment(c, deployment("blue")));
    auto failed = deployment("green");
    failed.served = false;
    LATHE_CHECK(put_deployment(c, failed));
    LATHE_CHECK(next_generation(c));
    LATHE_TRY(const auto document, desired_state(c));
    return json::print(document);
  });
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find(R"("generation":1)"), std::string::npos);
  EXPECT_NE(text->find(sha256_hex("one")), std::string::npos);
  EXPECT_EQ(text->find("\"one\""), std::string::npos);
  EXPECT_NE(text->find("blue"), std::string::npos);
  EXPECT_EQ(text->find("green"), std::string::npos);
}

TEST_F(RowsTest, ADeploymentComesBackAsItWasKept) {
  auto kept = deployment("blue");
  kept.previous = kept.spec;
  kept.previous->model_version = "2";
  kept.tags = {{"k", "v"}};
  kept.all_traffic = true;
  const auto back = db->write([&](db::Connection& c) -> Result<Deployment> {
    LATHE_CHECK(insert_endpoint(c, endpoint("e")));
    LATHE_CHECK(put_deployment(c, kept));
    return find_deployment(c, "e", "blue");
  });
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->spec.model_version, "3");
  EXPECT_EQ(back->spec.files.at(0).size, 5);
  EXPECT_EQ(back->previous->model_version, "2");
  EXPECT_EQ(back->tags, kept.tags);
  EXPECT_TRUE(back->all_traffic);
  EXPECT_EQ(db->write([](db::Connection& c) { return insert_endpoint(c, endpoint("e")); }).error().code, Code::conflict);
}

}  // namespace
}  // namespace lathe::serving
