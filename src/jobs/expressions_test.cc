#include "jobs/expressions.h"

#include <gtest/gtest.h>

namespace lathe::jobs {
namespace {

const Bindings kBindings{{{"epochs", "3"}, {"data", "/in/data"}}, {{"model", "/out/model"}}};

std::string filled(std::string_view text) {
  const auto out = substitute(text, kBindings);
  return out ? *out : "error: " + out.error().message;
}

TEST(Expressions, InputsAndOutputsAreFilledIn) {
  EXPECT_EQ(filled("train ${{inputs.epochs}} ${{ inputs.data }}/x > ${{outputs.model}}"), "train 3 /in/data/x > /out/model");
  EXPECT_EQ(filled("echo $HOME ${HOME} $((1+1)) {{x}}"), "echo $HOME ${HOME} $((1+1)) {{x}}");
}

TEST(Expressions, ValuesAreNotReadAsExpressions) {
  const Bindings tricky{{{"a", "${{inputs.b}}"}, {"b", "]] $[["}}, {}};
  EXPECT_EQ(substitute("${{inputs.a}} ${{inputs.b}}", tricky).value(), "${{inputs.b}} ]] $[[");
}

TEST(Expressions, AnOptionalPartGoesWithItsInput) {
  EXPECT_EQ(filled("x $[[--e ${{inputs.epochs}}]] $[[--f ${{inputs.folds}}]]"), "x --e 3 ");
}

TEST(Expressions, AnUnknownNameComesWithTheNearest) {
  EXPECT_NE(filled("${{inputs.epoch}}").find("\"epochs\""), std::string::npos);
  EXPECT_NE(filled("${{outputs.modle}}").find("\"model\""), std::string::npos);
}

TEST(Expressions, WhatBelongsElsewhereIsRefused) {
  EXPECT_EQ(filled("${{search_space.lr}}"), "error: ${{search_space.lr}} belongs into a sweep job");
  EXPECT_EQ(filled("$[[--lr ${{search_space.lr}}]]"), "error: ${{search_space.lr}} belongs into a sweep job");
  EXPECT_EQ(filled("${{parent.inputs.x}}"), "error: ${{parent.inputs.x}} belongs into a pipeline");
  EXPECT_EQ(filled("${{nonsense}}").substr(0, 6), "error:");
}

TEST(Expressions, WhatHasNoEndIsRefused) {
  EXPECT_EQ(filled("echo ${{inputs.epochs").substr(0, 6), "error:");
  EXPECT_EQ(filled("echo $[[ x").substr(0, 6), "error:");
}

}  // namespace
}  // namespace lathe::jobs
