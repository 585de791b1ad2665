#include "environments/environments.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>

#include "base/file.h"
#include "process/testing.h"

namespace lathe::environments {
namespace {

namespace fs = std::filesystem;
using process::testing::await;

/// Builds run the script `script` in place of python/lathe_environments/build.py, which the API tests run: argv[1] is
/// the recipe, argv[2] the folder.
class EnvironmentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lathe-environments-XXXXXX").string();
    folder = ::mkdtemp(name.data());
    ::chmod(folder.c_str(), 0755);
    script("open(sys.argv[2] + '/made', 'w').write('x'); print('made')");
  }
  void TearDown() override {
    environments.reset();
    fs::remove_all(folder);
  }
  void script(const std::string& body) {
    std::ofstream(folder / "build.py") << "import os, sys, time\n" << body << "\n";
    ::chmod((folder / "build.py").c_str(), 0644);
  }
  void open() {
    environments.reset();
    auto opened = Environments::open({folder / "root", folder / "build.py"}, process::testing::groups());
    ASSERT_TRUE(opened) << opened.error().message;
    environments = std::move(*opened);
  }
  std::future<Result<fs::path>> build(const Recipe& wanted) {
    auto promise = std::make_shared<std::promise<Result<fs::path>>>();
    auto future = promise->get_future();
    environments->build(wanted, [promise](const Result<fs::path>& built) { promise->set_value(built); });
    return future;
  }
  std::string state() { return environments->show(recipe.digest())->state; }
  bool build_runs() {
    return environments->waiting_for(recipe.digest()).find("being built") != std::string::npos &&
           environments->waiting_for(recipe.digest()).find("begun") != std::string::npos;
  }

  fs::path folder;
  Recipe recipe{"venv", "python3.11", {"numpy"}, {}};
  std::unique_ptr<Environments> environments;
};

TEST_F(EnvironmentsTest, IsBuiltOnceForAllWhoWait) {
  open();
  EXPECT_FALSE(environments->ready(recipe.digest()));
  std::vector<std::future<Result<fs::path>>> all;
  for (int i = 0; i < 20; ++i) all.push_back(build(recipe));
  std::set<fs::path> folders;
  for (auto& one : all) folders.insert(one.get().value());
  ASSERT_EQ(folders.size(), 1U);
  EXPECT_EQ(folders.begin()->filename(), "env-1");
  EXPECT_EQ(environments->ready(recipe.digest()), *folders.begin());
  EXPECT_TRUE(fs::exists(*folders.begin() / "made"));
  EXPECT_FALSE(fs::exists(*folders.begin() / "tmp"));
  EXPECT_EQ(build(recipe).get().value(), *folders.begin());
  EXPECT_EQ(state(), "ready");
}

TEST_F(EnvironmentsTest, ItsFilesAreNobodysToChange) {
  script(
      "p = sys.argv[2] + '/run'; open(p, 'w').write('x'); os.chmod(p, 0o6777); os.symlink('/etc/passwd', sys.argv[2] + "
      "'/link')");
  open();
  const auto built = build(recipe).get();
  ASSERT_TRUE(built) << built.error().message;
  struct stat found {};
  ASSERT_EQ(::stat((*built / "run").c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, ::geteuid());
  EXPECT_EQ(found.st_mode & 07777, 0755U);
  ASSERT_EQ(::stat("/etc/passwd", &found), 0);
  EXPECT_EQ(found.st_uid, 0U);
}

TEST_F(EnvironmentsTest, AFailureIsSaidAndTriedAgain) {
  script("open(sys.argv[2] + '/error', 'w').write('numpy cannot be had'); sys.exit(1)");
  open();
  const auto failed = build(recipe).get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "numpy cannot be had");
  EXPECT_EQ(state(), "failed");
  EXPECT_FALSE(fs::exists(folder / "root" / recipe.digest() / "env-1"));
  script("print('better')");
  EXPECT_TRUE(build(recipe).get());
  EXPECT_EQ(environments->show(recipe.digest())->error, std::nullopt);
}

TEST_F(EnvironmentsTest, ABuildThatDiesIsSaidWithItsLastLines) {
  script("print('so far'); sys.stdout.flush(); os.kill(os.getpid(), 9)");
  open();
  EXPECT_NE(build(recipe).get().error().message.find("so far"), std::string::npos);
}

TEST_F(EnvironmentsTest, CanBeCancelled) {
  script("print('begun', flush=True); time.sleep(600)");
  open();
  auto waits = build(recipe);
  ASSERT_TRUE(await([&] { return build_runs(); }));
  EXPECT_EQ(state(), "building");
  EXPECT_EQ(environments->remove(recipe.digest()).error().code, Code::conflict);
  ASSERT_TRUE(environments->cancel(recipe.digest(), "ann"));
  EXPECT_EQ(waits.get().error().message, "its build was cancelled by ann");
  EXPECT_EQ(environments->cancel(recipe.digest(), "ann").error().code, Code::conflict);
}

TEST_F(EnvironmentsTest, ABuildGoesOnWhileTheServerIsAwayAndIsNotDoneTwice) {
  const auto go = folder / "go";
  script("print('begun', flush=True)\nwhile not os.path.exists('" + go.string() + "'): time.sleep(0.01)\n");
  open();
  auto lost = build(recipe);
  ASSERT_TRUE(await([&] { return build_runs(); }));
  open();
  auto waits = build(recipe);
  EXPECT_EQ(state(), "building");
  std::ofstream(go) << "";
  EXPECT_EQ(waits.get().value().filename(), "env-1");
}

TEST_F(EnvironmentsTest, WhatEndedMeanwhileIsThereAndAHalfIsNot) {
  script("print('begun', flush=True); time.sleep(600)");
  open();
  auto lost = build(recipe);
  ASSERT_TRUE(await([&] { return build_runs(); }));
  const auto run = environments->build_folder(recipe.digest());
  environments.reset();
  const auto shim = process::observe(run)->shim_pid;
  ASSERT_GT(shim, 1);
  ::kill(shim, SIGKILL);
  ASSERT_TRUE(await([&] { return process::observe(run)->status == process::Status::lost; }));
  open();
  ASSERT_TRUE(await([&] { return state() == "failed"; }));
  EXPECT_FALSE(environments->ready(recipe.digest()));
  EXPECT_FALSE(fs::exists(folder / "root" / recipe.digest() / "env-1"));
  script("print('now')");
  EXPECT_EQ(build(recipe).get().value().filename(), "env-2");
}

TEST_F(EnvironmentsTest, IsDeletedUnlessAJobNeedsIt) {
  open();
  ASSERT_TRUE(build(recipe).get());
  environments->used_by = [](const std::string&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>("busy");
  };
  EXPECT_NE(environments->remove(recipe.digest()).error().message.find("busy"), std::string::npos);
  environments->used_by = [](const std::string&) -> Result<std::optional<std::string>> { return std::nullopt; };
  ASSERT_EQ(environments->list().size(), 1U);
  EXPECT_TRUE(environments->remove(recipe.digest()));
  EXPECT_TRUE(environments->list().empty());
  EXPECT_EQ(environments->remove(recipe.digest()).error().code, Code::not_found);
  EXPECT_EQ(environments->show("../../etc").error().code, Code::not_found);
}

TEST_F(EnvironmentsTest, ManyAtOnceAreAllBuilt) {
  open();
  std::vector<std::future<Result<fs::path>>> all;
  for (int i = 0; i < 12; ++i) all.push_back(build({"venv", "python3.11", {"p" + std::to_string(i)}, {}}));
  for (auto& one : all) EXPECT_TRUE(one.get());
  EXPECT_EQ(environments->list().size(), 12U);
}

}  // namespace
}  // namespace lathe::environments
