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

constexpr const char* kTree = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const Abilities kPodman{"python3.11", "", false, "/usr/bin/podman"};

json::Object with_build(json::Object build) {
  return {{"build", std::move(build)}};
}

TEST(Recipe, WithAnEngineAnImageIsTaken) {
  const auto choice = choose(json::Object{{"image", "docker://host:5000/a/b:1@sha256:12"}}, kPodman);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->recipe->image, "host:5000/a/b:1@sha256:12");
  EXPECT_EQ(choice->words, "the image host:5000/a/b:1@sha256:12");
  EXPECT_TRUE(choice->report.empty());
  const auto other =
      choose(json::Object{{"image", "host:5000/a/b:1@sha256:12"}, {"inference_config", json::Object{}}}, kPodman);
  EXPECT_EQ(other->recipe->digest(), choice->recipe->digest());
  EXPECT_EQ(other->report.size(), 1U);
}

TEST(Recipe, WhatNamesNoImageInARegistryIsRefused) {
  for (const char* wrong :
       {"", "dir:/etc", "oci-archive:/tmp/x.tar", "docker-daemon://x", "-v", "a b", "a\nb", "../x", "/x"}) {
    const auto choice = choose(json::Object{{"image", wrong}}, kPodman);
    ASSERT_FALSE(choice) << wrong;
    EXPECT_TRUE(choice.error().message.starts_with("environment.image")) << choice.error().message;
    EXPECT_TRUE(choose(json::Object{{"image", wrong}}, kVenv)) << "it is substituted where no engine is used";
  }
}

TEST(Recipe, AFolderWithADockerfileIsBuiltByWhatItHolds) {
  const auto path = std::string("tree:") + kTree;
  const auto choice = choose(with_build({{"path", path}}), kPodman);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->recipe->context, kTree);
  EXPECT_EQ(choice->recipe->dockerfile, "Dockerfile");
  EXPECT_EQ(choose(with_build({{"path", path}, {"dockerfile_path", "./a/../Dockerfile"}}), kPodman)->recipe->digest(),
            choice->recipe->digest());
  EXPECT_NE(choose(with_build({{"path", path}, {"dockerfile_path", "b/Dockerfile"}}), kPodman)->recipe->digest(),
            choice->recipe->digest());
  for (const char* wrong : {"/Dockerfile", "../Dockerfile", "a/../..", ""})
    EXPECT_FALSE(choose(with_build({{"path", path}, {"dockerfile_path", wrong}}), kPodman)) << wrong;
  EXPECT_FALSE(choose(with_build({{"path", "/somewhere"}}), kPodman));
  EXPECT_FALSE(choose(with_build({{"path", path}, {"dockerfile", "x"}}), kPodman));
}

TEST(Recipe, ApptainerBuildsNoDockerfiles) {
  const auto choice = choose(with_build({{"path", "x"}}), {"python3.11", "", false, "/opt/apptainer"});
  EXPECT_FALSE(choice->recipe);
  EXPECT_NE(choice->report[0].detail.find("only podman builds Dockerfiles"), std::string::npos);
}

TEST(Recipe, WhatAVirtualEnvironmentIsMadeFromKeepsItsDigest) {
  EXPECT_EQ(json::print(json::to_json(Recipe{"venv", "python3.11", {"numpy"}, {}})),
            R"({"manager":"venv","python":"python3.11","requirements":["numpy"]})");
}

}  // namespace
}  // namespace lathe::environments
