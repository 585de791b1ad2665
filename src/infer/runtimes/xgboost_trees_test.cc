#include "infer/runtimes/xgboost_trees.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace lathe::infer {
namespace {

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

/// One tree: feature 1 < 0.5 ? (feature 0 < 2 ? 10 : 20) : 30; missing goes right, then left.
constexpr auto kTree = R"({"left_children":[1,3,-1,-1,-1],"right_children":[2,4,-1,-1,-1],"split_indices":[1,0,0,0,0],
  "split_conditions":[0.5,2,30,10,20],"default_left":[0,1,0,0,0],"split_type":[0,0,0,0,0]})";

std::string model(const std::string& objective, const std::string& trees, const std::string& groups,
                  const std::string& classes = "0", const std::string& base = "5E-1") {
  return R"({"learner":{"gradient_booster":{"name":"gbtree","model":{"trees":[)" + trees + R"(],"tree_info":[)" +
         groups + R"(]}},"learner_model_param":{"base_score":")" + base + R"(","num_class":")" + classes +
         R"(","num_feature":"2"},"objective":{"name":")" + objective + R"("}}})";
}

std::vector<float> predict(const XgboostTrees& trees, const std::vector<float>& rows) {
  const auto count = rows.size() / trees.features();
  std::vector<float> out(count * trees.width());
  trees.predict(rows.data(), count, out.data());
  return out;
}

TEST(XgboostTrees, WalksSplitsAndMissingValues) {
  const auto trees = XgboostTrees::from_json(model("reg:squarederror", kTree, "0"));
  ASSERT_TRUE(trees) << trees.error().message;
  const auto out = predict(*trees, {1, 0, 2, 0, 0, 0.5F, 0, kMissing, kMissing, 0});
  EXPECT_EQ(out, (std::vector<float>{10.5F, 20.5F, 30.5F, 30.5F, 10.5F}));
}

TEST(XgboostTrees, MapsMarginsToProbabilitiesAndClasses) {
  const auto tree = std::string(kTree);
  const auto logistic = XgboostTrees::from_json(model("binary:logistic", tree, "0"));
  ASSERT_TRUE(logistic);
  EXPECT_NEAR(predict(*logistic, {1, 0})[0], 1 / (1 + std::exp(-10.0)), 1e-7);
  const auto softmax = XgboostTrees::from_json(model("multi:softprob", tree + "," + tree + "," + tree, "0,1,1", "3"));
  ASSERT_TRUE(softmax);
  const auto shares = predict(*softmax, {1, 0});
  EXPECT_NEAR(shares[0] + shares[1] + shares[2], 1, 1e-6);
  EXPECT_NEAR(shares[1] / shares[0], std::exp(10.0), 1);
  const auto best = XgboostTrees::from_json(model("multi:softmax", tree + "," + tree + "," + tree, "0,1,1", "3"));
  EXPECT_EQ(predict(*best, {1, 0}), (std::vector<float>{1}));
}

TEST(XgboostTrees, AThousandRowsAreAsOneByOne) {
  const auto trees = XgboostTrees::from_json(model("reg:squarederror", kTree, "0"));
  std::vector<float> rows;
  for (int i = 0; i < 2000; ++i) rows.push_back(static_cast<float>(i % 7) / 3.0F);
  const auto all = predict(*trees, rows);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(predict(*trees, {rows[2 * i], rows[2 * i + 1]})[0], all[i]);
}

TEST(XgboostTrees, LeavesToTheLibraryWhatItDoesNotKnow) {
  const auto refused = [](std::string text, const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
    return !XgboostTrees::from_json(text);
  };
  const auto good = model("reg:squarederror", kTree, "0");
  EXPECT_TRUE(refused(good, "gbtree", "dart"));
  EXPECT_TRUE(refused(good, "reg:squarederror", "rank:pairwise"));
  EXPECT_TRUE(refused(good, R"("split_type":[0)", R"("split_type":[1)"));
  EXPECT_TRUE(refused(good, "[1,3,-1", "[1,9,-1"));
  EXPECT_TRUE(refused(good, "[1,3,-1", "[1,0,-1"));  // a cycle
  EXPECT_TRUE(refused(good, R"("split_indices":[1)", R"("split_indices":[2)"));
  EXPECT_TRUE(refused(good, R"("tree_info":[0)", R"("tree_info":[1)"));
  EXPECT_TRUE(refused(good, "{", ""));
}

}  // namespace
}  // namespace lathe::infer
