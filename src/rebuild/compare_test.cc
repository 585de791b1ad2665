#include "rebuild/compare.h"

#include <gtest/gtest.h>

namespace lathe::rebuild {
namespace {

Difference compared(const char* original, const char* rebuilt) {
  return compare_predictions(json::parse(original).value(), json::parse(rebuilt).value());
}

TEST(ComparedPredictions, EqualNumbersDoNotDiffer) {
  const auto same = compared(R"({"predictions":[[1,2.5],[3,null]]})", R"({"predictions":[[1,2.5],[3,null]]})");
  EXPECT_EQ(same.values, 4);
  EXPECT_EQ(same.greatest, 0);
  EXPECT_TRUE(same.within(0));
}

TEST(ComparedPredictions, TheGreatestDifferenceIsAbsoluteBelowOneAndRelativeAbove) {
  EXPECT_DOUBLE_EQ(compared("[0.5, 0.25]", "[0.5, 0.375]").greatest, 0.125);
  EXPECT_DOUBLE_EQ(compared("[1000, 0.5]", "[1001, 0.5]").greatest, 0.001);
  EXPECT_FALSE(compared("[0.5]", "[0.75]").within(0.1));
  EXPECT_TRUE(compared("[0.5]", "[0.75]").within(0.25));
}

TEST(ComparedPredictions, LabelsAndShapesDifferWhateverTheTolerance) {
  const auto label = compared(R"({"predictions":["a","b"]})", R"({"predictions":["a","c"]})");
  EXPECT_EQ(label.where, ".predictions[1]");
  EXPECT_FALSE(label.within(100));
  EXPECT_FALSE(compared("[1, 2]", "[1]").within(100));
  EXPECT_FALSE(compared("[1]", R"(["1"])").within(100));
  EXPECT_FALSE(compared(R"({"predictions":[1]})", R"({"scores":[1]})").within(100));
}

TEST(ComparedPredictions, TheOpenInferenceProtocolsAnswersMayNameOtherModels) {
  const auto same = compared(R"({"model_name":"a","model_version":"1","outputs":[{"name":"predict","data":[0.5]}]})",
                             R"({"model_name":"a","model_version":"2","outputs":[{"name":"predict","data":[0.5]}]})");
  EXPECT_TRUE(same.within(0));
  EXPECT_EQ(same.values, 1);
}

}  // namespace
}  // namespace lathe::rebuild
