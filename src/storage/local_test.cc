#include "storage/storage.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/ids.h"

namespace lathe::storage {
namespace {

struct StorageTest : ::testing::Test {
  std::filesystem::path base = std::filesystem::temp_directory_path() / ("lathe-storage-test-" + random_hex(4));
  std::unique_ptr<Storage> store = open_folder(base / "artifacts").value();

  ~StorageTest() override { std::filesystem::remove_all(base); }

  Result<void> put(const std::string& path, const std::string& bytes) {
    LATHE_TRY(auto sink, store->upload(path));
    LATHE_CHECK(sink->write(bytes));
    LATHE_CHECK(sink->finish());
    return {};
  }
  /// Status and body, or the error.
  std::string get(const std::string& path, std::optional<std::string_view> range = std::nullopt) {
    auto response = store->download(path, range);
    if (!response) return response.error().message;
    std::string body = std::to_string(response->status) + " ";
    while (response->source && response->source->read(body).value() != http::Source::Step::end) {
    }
    return body;
  }
  std::size_t uploads() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(*store->folder() / ".uploads"), {}));
  }
};

TEST_F(StorageTest, AFileIsReadBackAsItWasWritten) {
  ASSERT_TRUE(put("1/run/artifacts/a/b.txt", "hello"));
  EXPECT_EQ(get("1/run/artifacts/a/b.txt"), "200 hello");
  EXPECT_EQ(uploads(), 0u);
  ASSERT_TRUE(put("1/run/artifacts/a/b.txt", "again"));
  EXPECT_EQ(get("1/run/artifacts/a/b.txt"), "200 again");
  ASSERT_TRUE(put("empty", ""));
  EXPECT_EQ(get("empty"), "200 ");
}

TEST_F(StorageTest, ABrokenUploadLeavesNothing) {
  {
    auto sink = store->upload("1/run/artifacts/x").value();
    ASSERT_TRUE(sink->write("half"));
    EXPECT_EQ(uploads(), 1u);
  }
  EXPECT_EQ(uploads(), 0u);
  EXPECT_FALSE(std::filesystem::exists(*store->folder() / "1"));
}

TEST_F(StorageTest, UploadsOfACrashedServerAreClearedAway) {
  std::ofstream(*store->folder() / ".uploads" / "left") << "x";
  store = open_folder(base / "artifacts").value();
  EXPECT_EQ(uploads(), 0u);
}

TEST_F(StorageTest, RangesGiveParts) {
  ASSERT_TRUE(put("f", "0123456789"));
  EXPECT_EQ(get("f", "bytes=2-4"), "206 234");
  EXPECT_EQ(get("f", "bytes=7-"), "206 789");
  EXPECT_EQ(get("f", "bytes=-3"), "206 789");
  EXPECT_EQ(get("f", "bytes=0-99"), "206 0123456789");
  EXPECT_EQ(get("f", "bytes=10-"), "416 ");
  EXPECT_EQ(get("f", "bytes=x"), "200 0123456789");
  EXPECT_EQ(get("f", "bytes=4-2"), "200 0123456789");
}

TEST_F(StorageTest, AFolderListsItsFilesAndFolders) {
  ASSERT_TRUE(put("r/b", "12"));
  ASSERT_TRUE(put("r/a/x", "1"));
  const auto entries = store->list("r").value();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_TRUE(entries[0].folder);
  EXPECT_EQ(entries[1].size, 2u);
  EXPECT_TRUE(store->list("r/b")->empty());
  EXPECT_TRUE(store->list("nothing")->empty());
}

TEST_F(StorageTest, AllFilesOfAFolderAreGatheredAtAnyDepth) {
  ASSERT_TRUE(put("r/b", "12"));
  ASSERT_TRUE(put("r/a/x/y", "1"));
  std::filesystem::create_symlink("b", *store->folder() / "r" / "link");
  const auto files = store->files("r").value();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].path, "a/x/y");
  EXPECT_EQ(files[1].path, "b");
  EXPECT_EQ(files[1].size, 2u);
  EXPECT_TRUE(store->files("r/b")->empty());
  EXPECT_TRUE(store->files("nothing")->empty());
}

TEST_F(StorageTest, RemovingAFolderTakesAllItHolds) {
  ASSERT_TRUE(put("r/a/b/c", "1"));
  ASSERT_TRUE(put("r/d", "1"));
  ASSERT_TRUE(store->remove("r/a"));
  EXPECT_EQ(store->list("r")->size(), 1u);
  ASSERT_TRUE(store->remove("r/d"));
  EXPECT_EQ(store->remove("r/d").error().code, Code::not_found);
  EXPECT_EQ(store->remove("x/y").error().code, Code::not_found);
}

TEST_F(StorageTest, AFileAndAFolderDoNotReplaceEachOther) {
  ASSERT_TRUE(put("r/a", "1"));
  EXPECT_EQ(put("r/a/b", "1").error().code, Code::invalid);
  EXPECT_EQ(put("r", "1").error().code, Code::invalid);
  EXPECT_EQ(uploads(), 0u);
}

TEST_F(StorageTest, LinksThatLeadOutsideAreNotFollowed) {
  std::ofstream(base / "secret") << "secret";
  std::filesystem::create_directories(*store->folder() / "r");
  std::filesystem::create_symlink(base / "secret", *store->folder() / "r" / "link");
  std::filesystem::create_directory_symlink(base, *store->folder() / "r" / "out");
  EXPECT_EQ(store->download("r/link", std::nullopt).error().code, Code::invalid);
  EXPECT_EQ(store->download("r/out/secret", std::nullopt).error().code, Code::invalid);
  EXPECT_FALSE(put("r/out/new", "1"));
  EXPECT_FALSE(store->list("r/out"));
  EXPECT_FALSE(store->remove("r/out/secret"));
  ASSERT_TRUE(store->remove("r"));
  EXPECT_TRUE(std::filesystem::exists(base / "secret"));
}

TEST_F(StorageTest, PathsThatNoHonestClientSendsAreInvalid) {
  for (const auto* path : {"..",
                           "../x",
                           "a/../../x",
                           "/etc/passwd",
                           "//x",
                           "%2e%2e/x",
                           "..%2fx",
                           "%252E%252E%252Fx",
                           "%25252e%25252e%25252fx",
                           "a%23/../..",
                           "a#b",
                           "a\\b",
                           "..%5cx",
                           "C:/x",
                           "file:///etc/passwd",
                           "http://h/x",
                           "%2%0952e",
                           "a\tb",
                           "%00",
                           "a/%2e%2e/b"}) {
    EXPECT_EQ(put(path, "x").error().code, Code::invalid) << path;
    EXPECT_EQ(store->download(path, std::nullopt).error().code, Code::invalid) << path;
    EXPECT_EQ(store->list(path).error().code, Code::invalid) << path;
    EXPECT_EQ(store->remove(path).error().code, Code::invalid) << path;
  }
  EXPECT_EQ(put(".uploads/x", "1").error().code, Code::invalid);
  EXPECT_EQ(put("", "1").error().code, Code::invalid);
  EXPECT_EQ(put("a/", "1").error().code, Code::invalid);
  EXPECT_TRUE(put("100% of...it/é ~.txt", "1"));
}

}  // namespace
}  // namespace lathe::storage
