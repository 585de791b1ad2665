#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "assets/blobs.h"
#include "assets/ignore.h"
#include "assets/scan.h"
#include "base/ids.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

bool ignored(const std::string& rules, const std::string& path, bool is_folder = false) {
  IgnoreRules made;
  made.add(rules);
  return made.ignored(path, is_folder);
}

TEST(IgnoreRules, APatternWithoutASlashMatchesAtAnyDepth) {
  EXPECT_TRUE(ignored("*.csv", "a.csv"));
  EXPECT_TRUE(ignored("*.csv", "deep/er/a.csv"));
  EXPECT_FALSE(ignored("*.csv", "a.csv.txt"));
  EXPECT_TRUE(ignored("data?", "x/data1"));
  EXPECT_FALSE(ignored("data[0-4]", "data7"));
}

TEST(IgnoreRules, APatternWithASlashIsAnchoredAtTheTop) {
  EXPECT_TRUE(ignored("/build", "build", true));
  EXPECT_FALSE(ignored("/build", "src/build", true));
  EXPECT_TRUE(ignored("src/gen", "src/gen", true));
  EXPECT_FALSE(ignored("src/gen", "a/src/gen", true));
  EXPECT_FALSE(ignored("src/*.o", "src/deep/a.o"));
}

TEST(IgnoreRules, TwoStarsMatchAnyNumberOfFolders) {
  EXPECT_TRUE(ignored("**/logs", "logs", true));
  EXPECT_TRUE(ignored("**/logs", "a/b/logs", true));
  EXPECT_TRUE(ignored("a/**/z", "a/z"));
  EXPECT_TRUE(ignored("a/**/z", "a/b/c/z"));
  EXPECT_TRUE(ignored("a/**", "a/b"));
  EXPECT_FALSE(ignored("a/**", "a", true));
}

TEST(IgnoreRules, TheLastMatchingRuleDecides) {
  EXPECT_FALSE(ignored("*.log\n!keep.log", "keep.log"));
  EXPECT_TRUE(ignored("!keep.log\n*.log", "keep.log"));
  EXPECT_TRUE(ignored("\\!odd", "!odd"));
}

TEST(IgnoreRules, CommentsBlanksAndTrailingSpaceDoNotCount) {
  EXPECT_FALSE(ignored("# a.txt\n\n", "a.txt"));
  EXPECT_TRUE(ignored("a.txt  \r", "a.txt"));
  EXPECT_TRUE(ignored("\\#x", "#x"));
}

TEST(IgnoreRules, AFolderPatternSparesFilesAndGitIsAlwaysLeftOut) {
  EXPECT_FALSE(ignored("out/", "out"));
  EXPECT_TRUE(ignored("out/", "out", true));
  EXPECT_TRUE(ignored("", ".git", true));
  EXPECT_TRUE(ignored("", "pkg/__pycache__", true));
}

TEST(Tree, TheDigestDoesNotDependOnTheOrder) {
  const std::string a(64, 'a');
  const auto one = make_tree({{"x", a, 1}, {"b/c", a, 2, true}}).value();
  const auto two = make_tree({{"b/c", a, 2, true}, {"x", a, 1}}).value();
  EXPECT_EQ(one.digest(), two.digest());
  EXPECT_EQ(one.size_bytes(), 3);
  EXPECT_EQ(parse_tree(json::parse(one.canonical()).value())->digest(), one.digest());
}

TEST(Tree, PathsThatLeadOutsideOrClashAreRefused) {
  const std::string a(64, 'a');
  for (const char* path : {"", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/"})
    EXPECT_FALSE(make_tree({{path, a, 1}})) << path;
  EXPECT_FALSE(make_tree({{"a", a, 1}, {"a", a, 1}}));
  EXPECT_FALSE(make_tree({{"a", a, 1}, {"a!", a, 1}, {"a/b", a, 1}}));
  EXPECT_FALSE(make_tree({{"a", "short", 1}}));
}

struct StoreTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-assets-test-" + random_hex(4));
  fs::path code = folder / "code";
  std::unique_ptr<BlobStore> blobs;
  std::unique_ptr<DigestCache> cache;

  StoreTest() {
    fs::create_directories(code / "pkg");
    EXPECT_TRUE(write_file(code / "train.py", "print(1)\n", 0644));
    EXPECT_TRUE(write_file(code / "run.sh", "#!/bin/sh\n", 0755));
    EXPECT_TRUE(write_file(code / "pkg" / "data.csv", "1,2\n", 0644));
    blobs = BlobStore::open(folder / "data").value();
    cache = DigestCache::open(folder / "digests.db").value();
  }
  ~StoreTest() override { fs::remove_all(folder); }

  Tree scanned() { return scan_folder(code, IgnoreRules::of_folder(code).value(), *cache)->tree; }
};

TEST_F(StoreTest, AFolderComesBackAsItWentIn) {
  const auto tree = scanned();
  ASSERT_EQ(tree.files.size(), 3U);
  const auto digest = blobs->take_folder(code, tree);
  ASSERT_TRUE(digest) << digest.error().message;
  EXPECT_EQ(*digest, tree.digest());

  ASSERT_TRUE(blobs->copy_out(*digest, folder / "work"));
  EXPECT_EQ(read_file(folder / "work" / "pkg" / "data.csv").value(), "1,2\n");
  EXPECT_EQ(::access((folder / "work" / "run.sh").c_str(), X_OK), 0);
  EXPECT_EQ(scan_data(folder / "work", *cache, Reach::everything)->tree.digest(), *digest);
}

TEST_F(StoreTest, AViewIsMadeOfLinksAndIsReadOnly) {
  const auto digest = blobs->take_folder(code, scanned()).value();
  const auto view = blobs->view(digest).value();
  EXPECT_EQ(blobs->view(digest).value(), view);
  struct stat linked {};
  ASSERT_EQ(::stat((view / "train.py").c_str(), &linked), 0);
  EXPECT_EQ(linked.st_mode & 0777, 0444U);
  EXPECT_GE(linked.st_nlink, 2U);
  ASSERT_EQ(::stat((view / "run.sh").c_str(), &linked), 0);
  EXPECT_EQ(linked.st_mode & 0777, 0555U);
}

TEST_F(StoreTest, AnAmlignoreTakesTheGitignoresPlace) {
  ASSERT_TRUE(write_file(code / ".gitignore", "*.py\n"));
  EXPECT_EQ(scanned().files.size(), 3U);  // .gitignore itself, run.sh, pkg/data.csv
  ASSERT_TRUE(write_file(code / ".amlignore", "pkg/\n.*ignore\n"));
  const auto tree = scanned();
  ASSERT_EQ(tree.files.size(), 2U);
  EXPECT_EQ(tree.files[1].path, "train.py");
}

TEST_F(StoreTest, AnUploadThatIsNotWhatItSaysLeavesNothing) {
  {
    auto writer = blobs->start().value();
    ASSERT_TRUE(writer.write("hello"));
    EXPECT_EQ(writer.finish(std::string(64, '0')).error().code, Code::invalid);
  }
  { ASSERT_TRUE(blobs->start()->write("broken")); }
  EXPECT_TRUE(fs::is_empty(folder / "data" / "blobs" / "tmp"));
  EXPECT_TRUE(fs::is_empty(folder / "data" / "blobs" / "sha256"));
}

TEST_F(StoreTest, ATreeWaitsForItsBlobs) {
  const auto tree = scanned();
  const auto refused = blobs->put_tree(tree);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("train.py"), std::string::npos);
}

TEST_F(StoreTest, AKnownFileIsNotReadAgainButAChangedOneIs) {
  const auto file = code / "train.py";
  const auto old_time = fs::file_time_type::clock::now() - std::chrono::hours(1);
  fs::last_write_time(file, old_time);
  const auto first = cache->digest_of(file, false).value();
  cache->flush();
  EXPECT_EQ(cache->digest_of(file, false)->sha256, first.sha256);

  ASSERT_TRUE(write_file(file, "print(2)\n", 0644));
  fs::last_write_time(file, old_time);
  EXPECT_NE(cache->digest_of(file, false)->sha256, first.sha256);
}

TEST_F(StoreTest, LinksAreFollowedOrRefusedAndCyclesEnd) {
  fs::create_directory_symlink(code, code / "pkg" / "up");
  fs::create_symlink("../train.py", code / "pkg" / "alias.py");
  const auto tree = scanned();
  EXPECT_EQ(tree.files.size(), 4U);
  EXPECT_EQ(scan_data(code, *cache, Reach::world_readable).error().code, Code::forbidden);
}

TEST_F(StoreTest, PipesAreSkippedAndNamed) {
  ASSERT_EQ(::mkfifo((code / "pipe").c_str(), 0600), 0);
  const auto scan = scan_data(code, *cache, Reach::everything).value();
  EXPECT_EQ(scan.skipped, std::vector<std::string>{"pipe"});
}

}  // namespace
}  // namespace lathe::assets
