#include "db/db.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/ids.h"

namespace lathe::db {
namespace {

const std::vector<Migration> kSteps = {{1, "pair", "CREATE TABLE pair (id BIGINT PRIMARY KEY, name TEXT UNIQUE)"}};

struct DatabaseTest : ::testing::Test {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-db-test-" + random_hex(4));
  std::string file = (folder / "lathe.db").string();
  DatabaseTest() { std::filesystem::create_directories(folder); }
  ~DatabaseTest() override { std::filesystem::remove_all(folder); }

  static Result<void> insert(Connection& c, std::int64_t id, const std::string& name) {
    LATHE_CHECK(run(c, "INSERT INTO pair (id, name) VALUES ($1, $2)", id, name));
    return {};
  }
  static std::int64_t count(Database& db) {
    return db.read([](Connection& c) {
                 return first(c, "SELECT count(*) FROM pair", [](const Row& row) { return row.integer(0); });
               })
        ->value();
  }
};

TEST_F(DatabaseTest, ParametersAreTakenByTheirNumberNotByTheirPlace) {
  auto db = open_sqlite(file, kSteps).value();
  ASSERT_TRUE(db->write([](Connection& c) { return run(c, "INSERT INTO pair (name, id) VALUES ($2, $1)", 7, "seven"); }));
  auto name = db->read([](Connection& c) {
    return first(c, "SELECT name FROM pair WHERE id = $1", [](const Row& row) { return row.text(0); }, 7);
  });
  EXPECT_EQ(name->value(), "seven");
}

TEST_F(DatabaseTest, ManyRowsAreInsertedAtOnceAndClashesAreCounted) {
  auto db = open_sqlite(file, kSteps).value();
  const std::vector<std::int64_t> ids = {1, 2, 3, 2};
  const std::vector<std::string_view> names = {"a", "", "it's", "again"};
  const std::array<Column, 2> columns{ids, names};
  auto added = db->write([&](Connection& c) {
    return c.insert("INSERT INTO pair (id, name)", ids.size(), columns, "ON CONFLICT (id) DO NOTHING");
  });
  EXPECT_EQ(added.value(), 3);
  auto kept = db->read([](Connection& c) {
    return all(c, "SELECT name FROM pair ORDER BY id", [](const Row& row) { return row.text(0); });
  });
  EXPECT_EQ(kept.value(), (std::vector<std::string>{"a", "", "it's"}));
}

TEST_F(DatabaseTest, ARowThatClashesTakesTheWholeInsertBack) {
  auto db = open_sqlite(file, kSteps).value();
  const std::vector<std::int64_t> ids = {1, 2};
  const std::vector<std::string_view> names = {"a", "a"};
  const std::array<Column, 2> columns{ids, names};
  auto failed = db->write([&](Connection& c) { return c.insert("INSERT INTO pair (id, name)", 2, columns, ""); });
  EXPECT_EQ(failed.error().code, Code::conflict);
  EXPECT_EQ(count(*db), 0);
}

TEST_F(DatabaseTest, AListStandsForAnyOfItsValues) {
  auto db = open_sqlite(file, kSteps).value();
  const std::vector<std::int64_t> ids = {1, 2, 3, 4};
  const std::vector<std::string_view> names = {"a", "b", "c", ""};
  const std::array<Column, 2> columns{ids, names};
  ASSERT_TRUE(db->write([&](Connection& c) { return c.insert("INSERT INTO pair (id, name)", 4, columns, ""); }));
  const auto found = [&](std::string_view sql, const auto&... arguments) {
    return db->read([&](Connection& c) {
               return all(c, sql, [](const Row& row) { return row.integer(0); }, arguments...);
             })
        .value();
  };
  using Ids = std::vector<std::int64_t>;
  EXPECT_EQ(found("SELECT id FROM pair WHERE id = ANY($1) ORDER BY id", Ids{4, 9, 2}), (Ids{2, 4}));
  EXPECT_EQ(found("SELECT id FROM pair WHERE id = ANY($1) ORDER BY id", Ids{}), Ids{});
  EXPECT_EQ(found("SELECT id FROM pair WHERE name = ANY($2) AND id = ANY($1) ORDER BY id", Ids{1, 4},
                  std::vector<std::string_view>{"", "a", "b"}),
            (Ids{1, 4}));
}

TEST_F(DatabaseTest, AFailedWriteRollsBackAloneAndSaysWhy) {
  auto db = open_sqlite(file, kSteps).value();
  auto failed = db->write([](Connection& c) -> Result<void> {
    LATHE_CHECK(insert(c, 1, "a"));
    return insert(c, 2, "a");
  });
  EXPECT_EQ(failed.error().code, Code::conflict);
  EXPECT_EQ(count(*db), 0);
}

TEST_F(DatabaseTest, ConcurrentWritesShareCommitsAndFailuresSpareTheirNeighbours) {
  auto db = open_sqlite(file, kSteps).value();
  std::atomic<int> good = 0;
  std::atomic<int> bad = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const bool clash = i % 5 == 4;
        const std::string name = clash ? "clash" : random_hex(8);
        auto done = db->write([&](Connection& c) { return insert(c, t * 1000 + i, name); });
        ++(done ? good : bad);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 40 + 1);
  EXPECT_EQ(bad, 8 * 10 - 1);
  EXPECT_EQ(count(*db), good);
}

TEST_F(DatabaseTest, AnExceptionInAWriteIsAnErrorOfThatWriteOnly) {
  auto db = open_sqlite(file, kSteps).value();
  auto failed = db->write([](Connection&) -> Result<void> { throw std::runtime_error("oops"); });
  EXPECT_EQ(failed.error().code, Code::internal);
  EXPECT_TRUE(db->write([](Connection& c) { return insert(c, 1, "a"); }));
}

TEST_F(DatabaseTest, AReaderSeesOneSnapshot) {
  auto db = open_sqlite(file, kSteps).value();
  auto counts = db->read([&](Connection& c) -> Result<std::pair<std::int64_t, std::int64_t>> {
    const auto number = [](const Row& row) { return row.integer(0); };
    LATHE_TRY(auto before, first(c, "SELECT count(*) FROM pair", number));
    std::thread([&] { (void)db->write([](Connection& w) { return insert(w, 1, "a"); }); }).join();
    LATHE_TRY(auto after, first(c, "SELECT count(*) FROM pair", number));
    return std::pair{*before, *after};
  });
  EXPECT_EQ(counts->first, counts->second);
  EXPECT_EQ(count(*db), 1);
}

TEST_F(DatabaseTest, ANewStepLeavesABackupAndAnOlderProgramRefuses) {
  { auto db = open_sqlite(file, kSteps).value(); }
  auto newer = kSteps;
  newer.push_back({2, "more", "ALTER TABLE pair ADD COLUMN note TEXT"});
  { ASSERT_TRUE(open_sqlite(file, newer)); }
  EXPECT_TRUE(std::filesystem::exists(folder / "backups" / "lathe-0001.db"));
  auto refused = open_sqlite(file, kSteps);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message.find("newer Lathe"), std::string::npos);
}

TEST_F(DatabaseTest, AFailedStepLeavesTheStoreAsItWas) {
  { auto db = open_sqlite(file, kSteps).value(); }
  auto broken = kSteps;
  broken.push_back({2, "broken", "CREATE TABLE other (id BIGINT); SELECT nonsense FROM nowhere"});
  EXPECT_FALSE(open_sqlite(file, broken));
  auto db = open_sqlite(file, kSteps).value();
  EXPECT_FALSE(db->read([](Connection& c) { return run(c, "SELECT * FROM other"); }));
}

}  // namespace
}  // namespace lathe::db
