#include "db/db.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <thread>

#include "base/ids.h"
#include "db/gather.h"
#include "db/test_store.h"

namespace lathe::db {
namespace {

const std::vector<Migration> kSteps = {{1, "pair", "CREATE TABLE pair (id BIGINT PRIMARY KEY, name TEXT UNIQUE)"}};

struct DatabaseTest : ::testing::TestWithParam<Kind> {
  TestStore store{GetParam()};
  std::unique_ptr<Database> opened() const { return std::move(store.open(kSteps).value()); }

  static Result<void> insert(Connection& c, std::int64_t id, const std::string& name) {
    LATHE_CHECK(run(c, "INSERT INTO pair (id, name) VALUES ($1, $2)", id, name));
    return {};
  }
  static std::int64_t count(Database& db) {
    return db
        .read([](Connection& c) {
          return first(c, "SELECT count(*) FROM pair", [](const Row& row) { return row.integer(0); });
        })
        ->value();
  }
};

TEST_P(DatabaseTest, ParametersAreTakenByTheirNumberNotByTheirPlace) {
  auto db = opened();
  ASSERT_TRUE(
      db->write([](Connection& c) { return run(c, "INSERT INTO pair (name, id) VALUES ($2, $1)", 7, "seven"); }));
  auto name = db->read([](Connection& c) {
    return first(
        c, "SELECT name FROM pair WHERE id = $1", [](const Row& row) { return row.text(0); }, 7);
  });
  EXPECT_EQ(name->value(), "seven");
}

TEST_P(DatabaseTest, ManyRowsAreInsertedAtOnceAndClashesAreCounted) {
  auto db = opened();
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

TEST_P(DatabaseTest, ARowThatClashesTakesTheWholeInsertBack) {
  auto db = opened();
  const std::vector<std::int64_t> ids = {1, 2};
  const std::vector<std::string_view> names = {"a", "a"};
  const std::array<Column, 2> columns{ids, names};
  auto failed = db->write([&](Connection& c) { return c.insert("INSERT INTO pair (id, name)", 2, columns, ""); });
  EXPECT_EQ(failed.error().code, Code::conflict);
  EXPECT_EQ(count(*db), 0);
}

TEST_P(DatabaseTest, AListStandsForAnyOfItsValues) {
  auto db = opened();
  const std::vector<std::int64_t> ids = {1, 2, 3, 4};
  const std::vector<std::string_view> names = {"a", "b", "c", ""};
  const std::array<Column, 2> columns{ids, names};
  ASSERT_TRUE(db->write([&](Connection& c) { return c.insert("INSERT INTO pair (id, name)", 4, columns, ""); }));
  const auto found = [&](std::string_view sql, const auto&... arguments) {
    return db
        ->read([&](Connection& c) {
          return all(
              c, sql, [](const Row& row) { return row.integer(0); }, arguments...);
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

TEST_P(DatabaseTest, AFailedWriteRollsBackAloneAndSaysWhy) {
  auto db = opened();
  auto failed = db->write([](Connection& c) -> Result<void> {
    LATHE_CHECK(insert(c, 1, "a"));
    return insert(c, 2, "a");
  });
  EXPECT_EQ(failed.error().code, Code::conflict);
  EXPECT_EQ(count(*db), 0);
}

TEST_P(DatabaseTest, ConcurrentWritesShareCommitsAndFailuresSpareTheirNeighbours) {
  auto db = opened();
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

/// Names to insert with one statement.
struct Named {
  std::int64_t id;
  std::string name;
  Result<void> outcome = {};
};

TEST_P(DatabaseTest, GatheredWritesShareStatementsAndAFailureSparesTheOthers) {
  auto db = opened();
  std::vector<std::size_t> sizes;  // of the units of work, in the order in which they ran
  const auto gather =
      std::make_shared<Gather<Named>>(*db, [&](Connection& c, std::span<Named* const> all) -> Result<void> {
        sizes.push_back(all.size());
        std::vector<std::int64_t> ids;
        std::vector<std::string_view> names;
        for (auto* item : all) {
          item->outcome = item->name.empty() ? fail(Code::invalid, "no name") : Result<void>{};
          if (!item->outcome) continue;
          ids.push_back(item->id);
          names.push_back(item->name);
        }
        const std::array<Column, 2> columns{ids, names};
        LATHE_CHECK(c.insert("INSERT INTO pair (id, name)", ids.size(), columns, ""));
        return {};
      });
  constexpr int kAll = 1000;
  std::vector<std::string> answers(kAll + 1);
  std::latch writer_is_busy(1), all_are_there(1), answered(kAll);
  db->submit(
      [&](Connection&) -> Result<void> {
        writer_is_busy.count_down();
        all_are_there.wait();
        return {};
      },
      [](Result<void>) {});
  writer_is_busy.wait();
  for (int i = 1; i <= kAll; ++i) {
    const std::string name = i == 7 ? "" : i == 9 ? "n8" : "n" + std::to_string(i);
    gather->submit({i, name}, [&, i](Result<void> done) {
      answers[static_cast<std::size_t>(i)] = done ? "ok" : std::to_string(static_cast<int>(done.error().code));
      answered.count_down();
    });
  }
  all_are_there.count_down();
  answered.wait();
  const auto code = [](Code c) { return std::to_string(static_cast<int>(c)); };
  for (std::size_t i = 1; i <= kAll; ++i)
    EXPECT_EQ(answers[i], i == 7 ? code(Code::invalid) : i == 9 ? code(Code::conflict) : "ok") << i;
  EXPECT_EQ(count(*db), kAll - 2);
  // The clash made one unit fail, and its items went alone; the others came together.
  ASSERT_FALSE(sizes.empty());
  EXPECT_GT(sizes.front(), 100u);
  EXPECT_EQ(std::count_if(sizes.begin(), sizes.end(), [](std::size_t size) { return size > 1; }),
            (kAll + static_cast<int>(sizes.front()) - 1) / static_cast<int>(sizes.front()));
}

TEST_P(DatabaseTest, AnExceptionInAWriteIsAnErrorOfThatWriteOnly) {
  auto db = opened();
  auto failed = db->write([](Connection&) -> Result<void> { throw std::runtime_error("oops"); });
  EXPECT_EQ(failed.error().code, Code::internal);
  EXPECT_TRUE(db->write([](Connection& c) { return insert(c, 1, "a"); }));
}

TEST_P(DatabaseTest, AReaderSeesOneSnapshot) {
  auto db = opened();
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

TEST_P(DatabaseTest, ANewStepLeavesABackupAndAnOlderProgramRefuses) {
  { auto db = opened(); }
  auto newer = kSteps;
  newer.push_back({2, "more", "ALTER TABLE pair ADD COLUMN note TEXT"});
  { ASSERT_TRUE(store.open(newer)); }
  EXPECT_EQ(std::filesystem::exists(store.folder / "backups" / "lathe-0001.db"), GetParam() == Kind::sqlite);
  auto refused = store.open(kSteps);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message.find("newer Lathe"), std::string::npos);
}

TEST_P(DatabaseTest, AFailedStepLeavesTheStoreAsItWas) {
  { auto db = opened(); }
  auto broken = kSteps;
  broken.push_back({2, "broken", "CREATE TABLE other (id BIGINT); SELECT nonsense FROM nowhere"});
  EXPECT_FALSE(store.open(broken));
  auto db = opened();
  EXPECT_FALSE(db->read([](Connection& c) { return run(c, "SELECT * FROM other"); }));
}

TEST_P(DatabaseTest, AWriteWhoseStatementFailedHasFailedWhateverItSays) {
  auto db = opened();
  (void)db->write([](Connection& c) { return insert(c, 1, "a"); });
  std::atomic<bool> neighbour = false;
  db->submit([](Connection& c) { return insert(c, 2, "b"); }, [&](Result<void> done) { neighbour = done.has_value(); });
  auto failed = db->write([](Connection& c) -> Result<void> {
    if (auto clash = insert(c, 1, "again"); clash) return {};
    return fail(Code::invalid, "my own words");
  });
  EXPECT_EQ(failed.error().message, "my own words");
  EXPECT_TRUE(neighbour);
  EXPECT_EQ(count(*db), 2);
}

TEST_P(DatabaseTest, TextsCompareAndSortByTheirBytes) {
  auto db = opened();
  const std::vector<std::int64_t> ids = {1, 2, 3, 4, 5, 6};
  const std::vector<std::string_view> names = {"b", "B", "a", "ä", "Z", "a b"};
  const std::array<Column, 2> columns{ids, names};
  ASSERT_TRUE(
      db->write([&](Connection& c) { return c.insert("INSERT INTO pair (id, name)", ids.size(), columns, ""); }));
  const auto texts = [&](std::string_view sql, auto... arguments) {
    return db
        ->read([&](Connection& c) {
          return all(
              c, sql, [](const Row& row) { return row.text(0); }, arguments...);
        })
        .value();
  };
  EXPECT_EQ(texts("SELECT name FROM pair ORDER BY name"), (std::vector<std::string>{"B", "Z", "a", "a b", "b", "ä"}));
  EXPECT_EQ(texts("SELECT name FROM pair WHERE name > $1 ORDER BY name", "a"),
            (std::vector<std::string>{"a b", "b", "ä"}));
  EXPECT_EQ(texts("SELECT name FROM pair WHERE name LIKE $1 ESCAPE '\\' ORDER BY name", "a%"),
            (std::vector<std::string>{"a", "a b"}));
  EXPECT_EQ(texts("SELECT name FROM pair WHERE LOWER(name) LIKE $1 ESCAPE '\\' ORDER BY name", "_"),
            (std::vector<std::string>{"B", "Z", "a", "b", "ä"}));
}

TEST_P(DatabaseTest, NumbersComeBackAsTheyWere) {
  auto db =
      store.open({{1, "number", "CREATE TABLE number (id INTEGER PRIMARY KEY, whole BIGINT, real DOUBLE PRECISION)"}})
          .value();
  const std::vector<std::int64_t> ids = {1, 2, 3};
  const std::vector<std::int64_t> wholes = {INT64_MIN, INT64_MAX, (1LL << 53) + 1};
  const std::vector<double> reals = {5e-324, 1.7976931348623157e308, 0.1};
  const std::array<Column, 3> columns{ids, wholes, std::span<const double>(reals)};
  ASSERT_TRUE(db->write(
      [&](Connection& c) { return c.insert("INSERT INTO number (id, whole, real)", ids.size(), columns, ""); }));
  const auto rows = db->read([](Connection& c) {
    return all(c, "SELECT whole, real FROM number ORDER BY id", [](const Row& row) {
      return std::pair{row.integer(0), row.real(1)};
    });
  });
  for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(rows->at(i), (std::pair{wholes[i], reals[i]}));
  const auto nulls = db->write([](Connection& c) -> Result<bool> {
    LATHE_CHECK(
        run(c, "INSERT INTO number (id, whole, real) VALUES ($1, $2, $3)", 4, std::optional<std::int64_t>{}, Null{}));
    LATHE_TRY(const auto null,
              first(
                  c, "SELECT whole, real FROM number WHERE id = $1",
                  [](const Row& row) { return row.is_null(0) && row.is_null(1) && row.integer(0) == 0; }, 4));
    return *null;
  });
  EXPECT_TRUE(nulls.value());
}

TEST_P(DatabaseTest, StatementsOfManyShapesAreNoBurden) {
  auto db = opened();
  for (int i = 0; i < 1200; ++i) {
    const auto found = db->read([&](Connection& c) {
      return first(
          c, "SELECT " + std::to_string(i) + " + $1", [](const Row& row) { return row.integer(0); }, 1);
    });
    ASSERT_EQ(found.value(), i + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, DatabaseTest, ::testing::Values(Kind::sqlite, Kind::postgres),
                         [](const auto& test) { return kind_name(test.param); });

TEST(SqliteDatabase, TheWalStaysSmallWhileWritesGoOn) {
  const TestStore store(Kind::sqlite);
  const auto file = (store.folder / "lathe.db").string();
  auto db = open_sqlite(file, {{1, "page", "CREATE TABLE page (id BIGINT PRIMARY KEY, text TEXT)"}}).value();
  const std::string text(3000, 'x');  // of which a page of the file holds one
  std::uintmax_t largest = 0;
  for (std::int64_t commit = 0; commit < 400; ++commit) {
    ASSERT_TRUE(db->write([&](Connection& c) -> Result<void> {
      for (std::int64_t i = 0; i < 200; ++i)
        LATHE_CHECK(run(c, "INSERT INTO page (id, text) VALUES ($1, $2)", commit * 200 + i, text));
      return {};
    }));
    largest = std::max(largest, std::filesystem::file_size(file + "-wal"));
  }
  EXPECT_LT(largest, std::uintmax_t{130} << 20);  // 330 MB were written
  db.reset();
  EXPECT_FALSE(std::filesystem::exists(file + "-wal"));
}

}  // namespace
}  // namespace lathe::db
