#include "registry/registry.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/ids.h"

namespace lathe::registry {
namespace {

struct Registry : ::testing::Test {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-registry-test-" + random_hex(4));
  std::unique_ptr<db::Database> db;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    db = db::open_sqlite((folder / "lathe.db").string(), db::migrations()).value();
  }
  void TearDown() override {
    db.reset();
    std::filesystem::remove_all(folder);
  }
  template <class F>
  auto write(F f) {
    return db->write([&](db::Connection& c) { return f(c); });
  }
  Result<void> model(const std::string& name) {
    return write([&](db::Connection& c) { return create_model(c, name, "", {}, "ann", now()); });
  }
  Version version(const std::string& name, std::optional<std::int64_t> number = std::nullopt) {
    VersionSpec spec{.name = name,
                     .version = number,
                     .source = "runs:/r/" + name,
                     .run_id = "r",
                     .created_by = "ann",
                     .create_model = true};
    return write([&](db::Connection& c) { return create_version(c, spec, now()); }).value();
  }
  std::string names(const Search& search) {
    const auto page = db->read([&](db::Connection& c) { return search_models(c, search); });
    if (!page) return page.error().message;
    std::string out;
    for (const auto& item : page->items) out += item.name + " ";
    return out;
  }
};

TEST_F(Registry, VersionsCountFromOnePerModel) {
  EXPECT_EQ(version("a").version, 1);
  EXPECT_EQ(version("a").version, 2);
  EXPECT_EQ(version("b").version, 1);
  EXPECT_EQ(version("b", 7).version, 7);
  EXPECT_EQ(version("b").version, 8);
  EXPECT_EQ(version("a").status, "READY");
  ASSERT_TRUE(write([](db::Connection& c) { return delete_version(c, "a", 3, now()); }));
  EXPECT_EQ(version("a").version, 4) << "a number is not given twice";
}

TEST_F(Registry, NamesAreUniqueAndPlain) {
  ASSERT_TRUE(model("a"));
  EXPECT_EQ(model("a").error().code, Code::conflict);
  for (const auto* name : {"", ".", "..", "a/b", "a:b", "a\nb"})
    EXPECT_EQ(model(name).error().code, Code::invalid) << name;
  EXPECT_TRUE(model("a b (été)"));
}

TEST_F(Registry, AnUnknownVersionIsNotFound) {
  version("a");
  EXPECT_EQ(db->read([](db::Connection& c) { return find_version(c, "a", 2); }).error().message,
            "Model Version (name=a, version=2) not found");
  EXPECT_EQ(db->read([](db::Connection& c) { return find_model(c, "b"); }).error().code, Code::not_found);
  const auto unknown = db->read([](db::Connection& c) { return find_version_by_label(c, "aa", "latest"); });
  EXPECT_NE(unknown.error().message.find("\"a\""), std::string::npos);
}

TEST_F(Registry, LatestIsTheHighestThatIsNotArchived) {
  version("a");
  version("a");
  const auto latest = [&] {
    return db->read([](db::Connection& c) { return find_version_by_label(c, "a", "latest"); })->version;
  };
  EXPECT_EQ(latest(), 2);
  ASSERT_TRUE(write([](db::Connection& c) { return set_archived(c, "a", 2, true, now()); }));
  EXPECT_EQ(latest(), 1);
}

TEST_F(Registry, AnAliasNamesOneVersion) {
  version("a");
  version("a");
  ASSERT_TRUE(write([](db::Connection& c) { return set_alias(c, "a", "champion", 1); }));
  ASSERT_TRUE(write([](db::Connection& c) { return set_alias(c, "a", "champion", 2); }));
  EXPECT_EQ(db->read([](db::Connection& c) { return find_version_by_label(c, "a", "champion"); })->version, 2);
  EXPECT_EQ(db->read([](db::Connection& c) { return find_version(c, "a", 2); })->aliases,
            std::vector<std::string>{"champion"});
  for (const auto* alias : {"latest", "LATEST", "v1", "V22", "", "a b", "a/b"})
    EXPECT_EQ(write([&](db::Connection& c) { return set_alias(c, "a", alias, 1); }).error().code, Code::invalid)
        << alias;
  ASSERT_TRUE(write([](db::Connection& c) { return delete_alias(c, "a", "champion"); }));
  EXPECT_EQ(db->read([](db::Connection& c) { return find_version_by_label(c, "a", "champion"); }).error().code,
            Code::not_found);
}

TEST_F(Registry, RenamingMovesVersionsTagsAndAliases) {
  version("a");
  ASSERT_TRUE(write([](db::Connection& c) { return set_alias(c, "a", "x", 1); }));
  ASSERT_TRUE(write([](db::Connection& c) { return set_version_tag(c, "a", 1, {"k", "v"}); }));
  ASSERT_TRUE(write([](db::Connection& c) { return rename_model(c, "a", "b", now()); }));
  const auto moved = db->read([](db::Connection& c) { return find_version(c, "b", 1); }).value();
  EXPECT_EQ(moved.aliases.size(), 1u);
  EXPECT_EQ(moved.tags.at(0).value, "v");
  EXPECT_FALSE(db->read([](db::Connection& c) { return find_model(c, "a"); }));
}

TEST_F(Registry, DeletingAModelTakesEverythingAlong) {
  version("a");
  ASSERT_TRUE(write([](db::Connection& c) { return set_alias(c, "a", "x", 1); }));
  ASSERT_TRUE(write([](db::Connection& c) { return delete_model(c, "a"); }));
  EXPECT_FALSE(db->read([](db::Connection& c) { return find_version(c, "a", 1); }));
  EXPECT_EQ(version("a").version, 1);
}

TEST_F(Registry, MovingToAStageArchivesOthersWhenAsked) {
  version("a");
  version("a");
  ASSERT_TRUE(write([](db::Connection& c) { return move_to_stage(c, "a", 1, "production", false, now()); }));
  ASSERT_TRUE(write([](db::Connection& c) { return move_to_stage(c, "a", 2, "Production", true, now()); }));
  EXPECT_EQ(db->read([](db::Connection& c) { return find_version(c, "a", 1); })->stage, "Archived");
  const auto latest = db->read([](db::Connection& c) { return latest_versions(c, "a", {"production"}); }).value();
  ASSERT_EQ(latest.size(), 1u);
  EXPECT_EQ(latest[0].version, 2);
  EXPECT_EQ(write([](db::Connection& c) { return move_to_stage(c, "a", 1, "nowhere", false, now()); }).error().code,
            Code::invalid);
}

TEST_F(Registry, SearchesByNameTagAndRun) {
  version("apple");
  version("banana");
  ASSERT_TRUE(write([](db::Connection& c) { return set_model_tag(c, "apple", {"team", "red"}); }));
  EXPECT_EQ(names({}), "apple banana ");
  EXPECT_EQ(names({.filter = "name LIKE 'b%'"}), "banana ");
  EXPECT_EQ(names({.filter = "name ILIKE 'A%' AND tags.team = 'red'"}), "apple ");
  EXPECT_EQ(names({.order_by = {"name DESC"}}), "banana apple ");
  EXPECT_EQ(names({.filter = "run_id = 'x'"}), "Invalid attribute key 'run_id' specified. Valid keys are '{'name'}'");
  const auto found = [&](const std::string& filter) {
    const auto page = db->read([&](db::Connection& c) { return search_versions(c, {.filter = filter}); });
    return page ? static_cast<int>(page->items.size()) : -1;
  };
  EXPECT_EQ(found("run_id = 'r'"), 2);
  EXPECT_EQ(found("run_id IN ('r', 's') AND name = 'apple'"), 1);
  EXPECT_EQ(found("version_number > 1"), 0);
  EXPECT_EQ(found("source_path LIKE 'runs:/%'"), 2);
  EXPECT_EQ(found("nothing = 'x'"), -1);
}

}  // namespace
}  // namespace lathe::registry
