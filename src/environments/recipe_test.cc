#include "environments/recipe.h"

#include <gtest/gtest.h>

namespace lathe::environments {
namespace {

const Abilities kVenv{"python3.11", ""};

json::Object with_conda(json::Value conda) {
  return {{"conda_file", std::move(conda)}};
}

Result<Choice> choose_conda(const char* yaml_as_json, const Abilities& abilities = kVenv) {
  return choose(with_conda(json::parse(yaml_as_json).value()), abilities);
}

TEST(Recipe, CondasVersionsAreSaidInPipsWords) {
  const auto choice =
      choose_conda(R"({"name": "x", "channels": ["conda-forge"], "dependencies": ["python=3.11", "pip=22",
      "numpy=1.21", "scipy==1.7.1", "pandas>=1.1, <2", "conda-forge::pytorch=1.13=py38_0", "joblib 1.2.*", "tqdm",
      {"pip": ["requests[socks]~=2.28", "mlflow"]}]})");
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->recipe->manager, "venv");
  EXPECT_EQ(choice->recipe->requirements,
            (std::vector<std::string>{"joblib==1.2.*", "mlflow", "numpy==1.21.*", "pandas>=1.1,<2",
                                      "requests[socks]~=2.28", "scipy==1.7.1", "torch==1.13.*", "tqdm"}));
  ASSERT_EQ(choice->report.size(), 1U);
  EXPECT_NE(choice->report[0].detail.find("torch for pytorch"), std::string::npos);
  EXPECT_EQ(choice->report[0].detail.find("Python 3.11 in place of"), std::string::npos);
}

TEST(Recipe, AnotherPythonIsSaid) {
  EXPECT_NE(choose_conda(R"({"dependencies": ["python=3.8"]})")->report[0].detail.find("Python 3.11 in place of 3.8"),
            std::string::npos);
  EXPECT_EQ(choose_conda(R"({"dependencies": ["python=3"]})")->report[0].detail.find("in place of"), std::string::npos);
  EXPECT_EQ(choose_conda(R"({"dependencies": ["python=3.11.4"]})")->report[0].detail.find("in place of"),
            std::string::npos);
}

TEST(Recipe, WhatNodesHaveIsNotKnownHere) {
  const auto choice = choose_conda(R"({"dependencies": ["python=3.11", "numpy"]})", of_nodes());
  EXPECT_EQ(choice->recipe->manager, "venv");
  EXPECT_EQ(choice->words, "a virtual environment over /usr/bin/python3 on the cluster's nodes");
  EXPECT_NE(choice->report[0].detail.find("their own Python 3 in place of 3.11"), std::string::npos);
  EXPECT_EQ(choose_conda(R"({"dependencies": ["python=3"]})", of_nodes())->report[0].detail.find("in place of"),
            std::string::npos);
}

TEST(Recipe, AzuresOwnPackagesAreLeftOutAndSaid) {
  const auto choice = choose_conda(
      R"({"dependencies": [{"pip": ["azureml-mlflow==1.50", "inference-schema[numpy-support]", "six"]}]})");
  EXPECT_EQ(choice->recipe->requirements, std::vector<std::string>{"six"});
  EXPECT_NE(choice->report[0].detail.find("azureml-mlflow==1.50 is left out"), std::string::npos);
}

TEST(Recipe, TheOrderOfALineDoesNotMakeAnotherEnvironment) {
  const auto one = choose_conda(R"({"name": "a", "dependencies": ["numpy", "scipy"]})");
  const auto other = choose_conda(R"({"name": "b", "dependencies": ["scipy", "numpy", "numpy"]})");
  EXPECT_EQ(one->recipe->digest(), other->recipe->digest());
  EXPECT_NE(one->recipe->digest(), choose_conda(R"({"dependencies": ["numpy"]})")->recipe->digest());
  EXPECT_NE(one->recipe->digest(),
            choose_conda(R"({"dependencies": ["numpy", "scipy"]})", {"python3.13", ""})->recipe->digest());
}

TEST(Recipe, WhatNobodyCouldInstallIsRefusedAndNamed) {
  for (const auto* wrong :
       {R"({"dependencies": "numpy"})", R"({"dependencies": [3]})", R"({"dependencies": [{"npm": ["x"]}]})",
        R"({"dependencies": ["numpy|scipy"]})", R"({"dependencies": [{"pip": ["-r requirements.txt"]}]})",
        R"({"dependencies": [{"pip": ["--index-url http://x/"]}]})", R"({"dependencies": [{"pip": ["./local"]}]})",
        R"({"dependencies": [{"pip": ["x @ file:///etc"]}]})", R"({"dependencies": [{"pip": ["a\n--no-index"]}]})",
        R"({"dependencie": []})"}) {
    const auto choice = choose_conda(wrong);
    ASSERT_FALSE(choice) << wrong;
    EXPECT_EQ(choice.error().code, Code::invalid);
    EXPECT_TRUE(choice.error().message.starts_with("environment.conda_file")) << choice.error().message;
  }
}

TEST(Recipe, CondaMakesItWhereItIsInstalled) {
  const auto choice =
      choose_conda(R"({"dependencies": ["python=3.8", "cudatoolkit=11"]})", {"python3.11", "/opt/micromamba"});
  EXPECT_EQ(choice->recipe->manager, "conda");
  EXPECT_TRUE(choice->report.empty());
}

TEST(Recipe, AnImageAloneIsTheDefaultEnvironmentAndSaid) {
  const auto choice = choose(json::Object{{"image", "python:3.11"}}, kVenv);
  EXPECT_FALSE(choice->recipe);
  EXPECT_EQ(choice->words, "the default environment (/usr/bin/python3.11)");
  ASSERT_EQ(choice->report.size(), 1U);
  EXPECT_EQ(choice->report[0].field, "environment.image");
  EXPECT_EQ(choice->report[0].verdict, "substituted");
}

TEST(Recipe, AnImageWithACondaFileIsAVirtualEnvironmentOnThisSystem) {
  const auto choice =
      choose(json::Object{{"image", "x"}, {"conda_file", json::Object{{"dependencies", json::Array{"numpy"}}}}}, kVenv);
  ASSERT_TRUE(choice->recipe);
  EXPECT_EQ(choice->report.size(), 2U);
}

}  // namespace
}  // namespace lathe::environments
