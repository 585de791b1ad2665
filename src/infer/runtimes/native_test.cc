#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/ids.h"
#include "infer/runtimes/runtime.h"

namespace lathe::infer {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

struct Native : ::testing::Test {
  std::filesystem::path file = std::filesystem::temp_directory_path() / ("lathe-native-" + random_hex(4) + ".json");
  ~Native() override { std::filesystem::remove(file); }

  Result<std::unique_ptr<Model>> load(const std::string& json) const {
    std::ofstream(file) << json;
    return load_native({file, {}});
  }
  static std::string model(const std::string& features, const std::string& steps,
                           const std::string& outputs = R"({"name":"row","take":"row"})",
                           const std::string& more = "") {
    return R"({"format":"lathe.native","version":1,"features":)" + features + R"(,"steps":[)" + steps +
           R"(],"outputs":[)" + outputs + "]" + more + "}";
  }
  static Result<std::vector<Tensor>> run(const Model& model, const std::vector<double>& rows) {
    const auto width = model.inputs()[0].shape[1];
    Tensor input{"input", DataType::fp64, {static_cast<std::int64_t>(rows.size()) / width, width}, {}, {}};
    const auto* bytes = reinterpret_cast<const char*>(rows.data());
    input.data.assign(bytes, bytes + rows.size() * sizeof(double));
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < model.outputs().size(); ++i) wanted.push_back(i);
    std::vector<Tensor> outputs;
    LATHE_CHECK(model.run({&input, 1}, wanted, outputs));
    return outputs;
  }
  /// What the steps leave of the rows, or the error.
  std::vector<double> after(const std::string& features, const std::string& steps,
                            const std::vector<double>& rows) const {
    const auto loaded = load(model(features, steps));
    EXPECT_TRUE(loaded) << loaded.error().message;
    const auto outputs = run(**loaded, rows);
    EXPECT_TRUE(outputs) << outputs.error().message;
    const auto& out = outputs->front();
    return {out.as<double>(), out.as<double>() + out.count()};
  }
  std::string refusal(const std::string& json) const {
    const auto loaded = load(json);
    return loaded ? "" : loaded.error().message;
  }
  using Numbers = std::vector<double>;
};

TEST_F(Native, StepsOverColumnsWorkInTheirOrder) {
  EXPECT_EQ(after("2", R"({"do":"impute","values":[7,8]})", {1, kMissing, kMissing, 2}), (Numbers{1, 8, 7, 2}));
  EXPECT_EQ(after("2", R"({"do":"elementwise","subtract":[1,2],"divide":[2,4]})", {5, 10, 1, 2}),
            (Numbers{2, 2, 0, 0}));
  EXPECT_EQ(
      after("1", R"({"do":"elementwise","multiply":[3],"add":[1]},{"do":"clip","least":0,"greatest":5})", {1, 4, -9}),
      (Numbers{4, 5, 0}));
  EXPECT_EQ(after("2", R"({"do":"normalize","norm":"l2"})", {3, 4, 0, 0}), (Numbers{0.6, 0.8, 0, 0}));
  EXPECT_EQ(after("2", R"({"do":"normalize","norm":"l1"})", {1, -3}), (Numbers{0.25, -0.75}));
  EXPECT_EQ(after("3", R"({"do":"select","columns":[2,0]})", {1, 2, 3}), (Numbers{3, 1}));
  EXPECT_EQ(after("2", R"({"do":"linear","weights":[1,2,3,4,5,6],"bias":[0,10,100]})", {1, 1}), (Numbers{3, 17, 111}));
  EXPECT_EQ(after("1", R"({"do":"complement"})", {0.25}), (Numbers{0.75, 0.25}));
  EXPECT_EQ(after("1", R"({"do":"mirror"})", {3}), (Numbers{-3, 3}));
  EXPECT_EQ(after("2", R"({"do":"distances","centers":[0,0,3,0]})", {3, 4}), (Numbers{5, 4}));
  EXPECT_EQ(after("2", R"({"do":"activate","by":"relu"})", {-1, 2}), (Numbers{0, 2}));
  EXPECT_EQ(after("2", R"({"do":"activate","by":"softmax"})", {1000, 1000}), (Numbers{0.5, 0.5}));
  EXPECT_EQ(after("1", R"({"do":"activate","by":"logistic"})", {0, 800, -800}), (Numbers{0.5, 1, 0}));
}

TEST_F(Native, PartsOfARowGoTheirOwnWays) {
  const auto steps = R"({"do":"join","parts":[
    [{"do":"select","columns":[1]},{"do":"elementwise","add":[10]}],
    [{"do":"select","columns":[0]},{"do":"one_hot","categories":[[1,2]],"unknown":"ignore"}]]})";
  EXPECT_EQ(after("2", steps, {2, 5, 9, 6}), (Numbers{15, 0, 1, 16, 0, 0}));
}

TEST_F(Native, ForestsAddUpTheLeavesOfTheirTrees) {
  // feature 1 <= 0.5 ? (feature 0 <= 2 ? first : second) : third
  const std::string tree =
      R"("feature":[1,0,-1,-1,-1],"threshold":[0.5,2,0,0,0],"left":[1,2,0,1,2],"right":[4,3,0,0,0],)";
  const auto single_values =
      R"({"do":"forest","roots":[0,0],"groups":[0,1],"start":[1,100],)" + tree + R"("leaves":[10,20,30]})";
  EXPECT_EQ(after("2", single_values, {1, 0, 3, 0, 0, 1, 2, kMissing}), (Numbers{11, 110, 21, 120, 31, 130, 31, 130}));
  const auto rows = R"({"do":"forest","roots":[0],"start":[0,0],)" +
                    std::string(R"("feature":[1,-1,-1],"threshold":[0.5,0,0],)") +
                    R"("left":[1,0,2],"right":[2,0,0],"missing_left":[1,0,0],"leaves":[1,2,3,4]})";
  EXPECT_EQ(after("2", rows, {0, 0, 0, 1, 0, kMissing}), (Numbers{1, 2, 3, 4, 1, 2}));
}

TEST_F(Native, ForestsOfSinglePrecisionRoundTheRowNotTheThreshold) {
  const auto forest = [](const std::string& single) {
    return R"({"do":"forest","single":)" + single +
           R"(,"roots":[0],"start":[0],"feature":[0,-1,-1],"threshold":[0.1,0,0],)" +
           R"("left":[1,0,1],"right":[2,0,0],"leaves":[1,2]})";
  };
  // The nearest single to 0.1 lies above it.
  EXPECT_EQ(after("1", forest("true"), {0.1}), Numbers{2});
  EXPECT_EQ(after("1", forest("false"), {0.1}), Numbers{1});
}

TEST_F(Native, OutputsAreRowsNumbersOrLabels) {
  const auto loaded = load(model("2", "", R"({"name":"a","take":"greatest","labels":["no","yes"]},
    {"name":"b","take":"least","labels":[7,9]},{"name":"c","take":"first"},{"name":"d","take":"greatest","labels":[false,true]},
    {"name":"e","take":"greatest","labels":[0.5,1.5]})"));
  ASSERT_TRUE(loaded) << loaded.error().message;
  std::vector<double> rows;
  for (int i = 0; i < 200; ++i) rows.insert(rows.end(), {static_cast<double>(i % 3), 1.0});
  const auto out = run(**loaded, rows).value();
  const auto& outputs = (*loaded)->outputs();
  EXPECT_EQ(outputs[0].type, DataType::bytes);
  EXPECT_EQ(outputs[1].type, DataType::int64);
  EXPECT_EQ(outputs[3].type, DataType::boolean);
  ASSERT_EQ(out[0].count(), 200u);
  for (std::size_t i = 0; i < 200; ++i) {
    const bool second = i % 3 == 0;  // 0 beside 1; of equals, the first
    EXPECT_EQ(out[0].texts[i], second ? "yes" : "no");
    EXPECT_EQ(out[1].as<std::int64_t>()[i], i % 3 == 2 ? 9 : 7);
    EXPECT_EQ(out[2].as<double>()[i], static_cast<double>(i % 3));
    EXPECT_EQ(out[3].as<std::uint8_t>()[i], second ? 1 : 0);
    EXPECT_EQ(out[4].as<double>()[i], second ? 1.5 : 0.5);
  }
}

TEST_F(Native, AnOutputMayGoFurtherByItself) {
  const auto loaded = load(model("2", R"({"do":"elementwise","add":[1,1]})",
                                 R"({"name":"a","take":"row","steps":[{"do":"select","columns":[1]}]},
    {"name":"b","take":"row"},{"name":"c","take":"greatest","labels":[1,2,3],"steps":[{"do":"linear","weights":[1,0,0,1,1,1],"bias":[0,0,0]}]})"));
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto out = run(**loaded, {1, 2}).value();
  EXPECT_EQ(out[0].shape, (Shape{1, 1}));
  EXPECT_EQ(out[0].as<double>()[0], 3);
  EXPECT_EQ(out[1].as<double>()[0], 2);
  EXPECT_EQ(out[2].as<std::int64_t>()[0], 3);
  EXPECT_NE(refusal(model("2", "", R"({"name":"a","take":"row","steps":[{"do":"mirror"}]})")), "");
}

TEST_F(Native, ValuesThatTheModelDoesNotTakeAreRefusedWithTheirColumn) {
  const auto finite = load(model("2", R"({"do":"finite","single":true})")).value();
  EXPECT_TRUE(run(*finite, {1, -3e38}));
  EXPECT_NE(run(*finite, {1, kMissing}).error().message.find("column 2"), std::string::npos);
  EXPECT_EQ(run(*finite, {1e39, 1}).error().code, Code::invalid);
  const auto one_hot = load(model("1", R"({"do":"one_hot","categories":[[1,2]]})")).value();
  EXPECT_EQ(run(*one_hot, {3}).error().code, Code::invalid);
}

TEST_F(Native, AModelThatAnswersOtherwiseThanItsOriginalIsRefused) {
  const auto checked = [&](const std::string& answers) {
    return refusal(model("1", R"({"do":"elementwise","add":[1]})", R"({"name":"row","take":"first"})",
                         R"(,"check":{"rows":[[1],[2]],"answers":{"row":)" + answers + "}}"));
  };
  EXPECT_EQ(checked("[2,3]"), "");
  EXPECT_EQ(checked("[2,3.00001]"), "");
  EXPECT_NE(checked("[2,3.001]").find("answers otherwise"), std::string::npos);
  EXPECT_NE(checked("[2]").find("answers otherwise"), std::string::npos);
  EXPECT_NE(checked("[2,3,4]").find("answers otherwise"), std::string::npos);
  EXPECT_NE(checked(R"(["2","3"])").find("answers otherwise"), std::string::npos);
}

TEST_F(Native, WhatIsNoModelIsRefused) {
  const auto tree = [](const std::string& lists) {
    return model("2", R"({"do":"forest","roots":[0],"start":[0],"leaves":[1,2],)" + lists + "}");
  };
  EXPECT_EQ(refusal(tree(R"("feature":[0,-1,-1],"threshold":[0,0,0],"left":[1,0,1],"right":[2,0,0])")), "");
  for (const auto* bad :
       {R"("feature":[2,-1,-1],"threshold":[0,0,0],"left":[1,0,1],"right":[2,0,0])",  // no such feature
        R"("feature":[0,-1,-1],"threshold":[0,0,0],"left":[1,0,2],"right":[2,0,0])",  // no such leaf
        R"("feature":[0,-1,-1],"threshold":[0,0,0],"left":[1,0,1],"right":[3,0,0])",  // no such node
        R"("feature":[0,-1,-1],"threshold":[0,0,0],"left":[0,0,1],"right":[2,0,0])",  // a cycle
        R"("feature":[0,-1,-1],"threshold":[0,0,0],"left":[-1,0,1],"right":[2,0,0])",
        R"("feature":[0,-1],"threshold":[0,0,0],"left":[1,0,1],"right":[2,0,0])"}) {
    EXPECT_NE(refusal(tree(bad)), "") << bad;
  }
  for (const auto* bad :
       {R"({"do":"dance"})", R"({"do":"linear","weights":[1],"bias":[1]})", R"({"do":"impute","values":[1]})",
        R"({"do":"select","columns":[2]})", R"({"do":"select","columns":[]})", R"({"do":"mirror"})",
        R"({"do":"distances","centers":[1]})", R"({"do":"join","parts":[]})", R"({"do":"join","parts":[3]})",
        R"({"do":"activate","by":"wish"})", R"({"do":"one_hot","categories":[[1]]})", "3"})
    EXPECT_NE(refusal(model("2", bad)), "") << bad;
  std::string deep = R"({"do":"mirror"})";
  for (int i = 0; i < 50; ++i) deep = R"({"do":"join","parts":[[)" + deep + "]]}";
  EXPECT_NE(refusal(model("1", deep)), "");
  EXPECT_NE(refusal(model("0", "")), "");
  EXPECT_NE(refusal(model("1", "", "")), "");
  EXPECT_NE(refusal(model("1", "", R"({"name":"a","take":"greatest","labels":[1,2]})")), "");
  EXPECT_NE(refusal(model("1", "", R"({"name":"a","take":"wish"})")), "");
  EXPECT_NE(refusal("{}"), "");
  EXPECT_NE(refusal("no JSON"), "");
  auto newer = model("1", "");
  newer.replace(newer.find(R"("version":1)"), 11, R"("version":2)");
  EXPECT_NE(refusal(newer).find("version 2"), std::string::npos);
}

}  // namespace
}  // namespace lathe::infer
