#include "backup/backup.h"

#include <limits>

#include "backup/archive.h"
#include "backup/contents.h"
#include "backup/rows.h"
#include "base/file.h"
#include "tracking/test_store.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

struct ArchiveTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-backup-test-" + random_hex(4));
  fs::path file = folder / "store.lathe";
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }

  void write(const std::map<std::string, std::string>& entries) {
    auto writer = ArchiveWriter::open(file).value();
    for (const auto& [name, content] : entries) ASSERT_TRUE(writer->add(name, content));
    ASSERT_TRUE(writer->finish());
  }
  Result<std::map<std::string, std::string>> read() {
    std::map<std::string, std::string> out;
    LATHE_TRY(auto reader, ArchiveReader::open(file));
    for (;;) {
      LATHE_TRY(const auto name, reader->next());
      if (!name) return out;
      LATHE_TRY(out[*name], reader->read_all());
    }
  }
};

TEST_F(ArchiveTest, WhatGoesInComesOutWhateverItsName) {
  const std::map<std::string, std::string> entries = {
      {"a/b.txt", "text"}, {"leer zeichen/ü\xff.bin", std::string(3'000'000, '\0')}, {"empty", ""}, {"x%2Fy", "1"}};
  write(entries);
  EXPECT_EQ(read().value(), entries);
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(ArchiveTest, AnArchiveThatIsNotFinishedIsNotThere) {
  {
    auto writer = ArchiveWriter::open(file).value();
    ASSERT_TRUE(writer->add("a", "b"));
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(ArchiveTest, EveryTruncationAndEveryChangedByteIsNoticed) {
  write({{"a", "some text"}, {"b", std::string(5000, 'b')}});
  const auto whole = read_file(file).value();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    ASSERT_TRUE(write_file(file, whole.substr(0, size)));
    const auto got = read();
    ASSERT_FALSE(got) << size;
    EXPECT_NE(got.error().message.find(file.string()), std::string::npos) << got.error().message;
  }
  const std::map<std::string, std::string> entries = {{"a", "some text"}, {"b", std::string(5000, 'b')}};
  for (std::size_t at = 0; at < whole.size(); ++at) {
    auto changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    ASSERT_TRUE(write_file(file, changed));
    const auto got = read();
    EXPECT_TRUE(!got || *got == entries) << at;  // some bytes of the frames mean nothing
  }
}

TEST(Rows, ValuesComeBackAsTheyWere) {
  const auto folder = fs::temp_directory_path() / ("lathe-rows-test-" + random_hex(4));
  fs::create_directories(folder);
  const std::vector<db::Migration> steps = {{1, "t", "CREATE TABLE t (i BIGINT, d DOUBLE PRECISION, s TEXT)"}};
  auto db = db::open_sqlite((folder / "a.db").string(), steps).value();
  const std::vector<double> doubles = {
      0.1, -0.0, std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(), 1e22, 3};
  const std::vector<std::string> texts = {"", "\\N", "a\tb\nc\rd\\e", "ü€😀", "\\", "NULL"};
  const auto table =
      db->write([&](db::Connection& c) -> Result<db::Table> {
          LATHE_CHECK(db::run(c, "INSERT INTO t (i) VALUES ($1)", std::numeric_limits<std::int64_t>::min()));
          for (std::size_t i = 0; i < doubles.size(); ++i)
            LATHE_CHECK(db::run(c, "INSERT INTO t (i, d, s) VALUES ($1, $2, $3)", static_cast<std::int64_t>(i),
                                doubles[i], texts[i]));
          LATHE_TRY(const auto tables, c.tables());
          return tables.back();
        }).value();
  ASSERT_EQ(table.name, "t");
  const auto text = [&] {
    return db
        ->read([&](db::Connection& c) -> Result<std::string> {
          std::string out;
          LATHE_CHECK(db::each(c, "SELECT i, d, s FROM t ORDER BY rowid",
                               [&](const db::Row& row) { append_row(out, row, table.columns); }));
          return out;
        })
        .value();
  };
  const auto before = text();
  ASSERT_EQ(db->write([&](db::Connection& c) -> Result<std::int64_t> {
                LATHE_CHECK(db::run(c, "DELETE FROM t"));
                return insert_rows(c, table, before);
              }).value(),
            7);
  EXPECT_EQ(text(), before);
  EXPECT_TRUE(db->read([](db::Connection& c) {
                  return db::first(c, "SELECT d FROM t WHERE i = 0", [](const db::Row& row) { return row.real(0); });
                }).value() == 0.1);
  for (const auto* bad : {"1\t2\n", "1\t2\tx\ty\n", "x\t1\ta\n", "1\t1\ta", "1\t1\ta\\q\n", "1\t1\ta\\"})
    EXPECT_FALSE(db->write([&](db::Connection& c) { return insert_rows(c, table, bad); })) << bad;
  db.reset();
  fs::remove_all(folder);
}

struct RoundTrip : ArchiveTest {
  struct Opened {
    std::unique_ptr<db::Database> db;
    std::unique_ptr<storage::Storage> artifacts;
  };
  Opened open(const fs::path& data, int newest) {
    fs::create_directories(data);
    std::vector<db::Migration> steps;
    for (const auto& step : db::migrations())
      if (step.number <= newest) steps.push_back(step);
    return {db::open_sqlite((data / "lathe.db").string(), steps).value(),
            storage::open_folder(data / "artifacts").value()};
  }
};

TEST_F(RoundTrip, ABackupOfAnOlderSchemaIsBroughtUpToDate) {
  constexpr int kOlder = 8;
  const auto from = folder / "from";
  const auto to = folder / "to";
  {
    auto store = open(from, kOlder);
    ASSERT_TRUE(store.db->write([](db::Connection& c) {
      return c.script(
          "INSERT INTO experiment VALUES (7, 'e\ttab', 'mlflow-artifacts:/7', 'active', 'ann', 1, 2);"
          "INSERT INTO run (number, id, experiment_id, name, user_name, status, start_ms, stage, artifact_uri, job, "
          "created_by)"
          " VALUES (1, 'r1', 7, 'n', 'u', 'FINISHED', 1, 'active', 'mlflow-artifacts:/7/r1/artifacts', 0, 'ann')");
    }));
    for (const auto* path : {"7/r1/artifacts/x", "7/nobodys/artifacts/x"}) {
      auto sink = store.artifacts->upload(path).value();
      ASSERT_TRUE(sink->write("content"));
      ASSERT_TRUE(sink->finish());
    }
    ASSERT_TRUE(write_backup({from, *store.db, *store.artifacts}, file, true));
  }
  const auto checked = check_backup(file);
  ASSERT_TRUE(checked) << checked.error().message;
  EXPECT_EQ(checked->schema_step, kOlder);
  {
    auto store = open(to, checked->schema_step);
    const auto read = read_backup({to, *store.db, *store.artifacts}, file, to / "jobs");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->files, 1);  // what no row names stays behind
  }
  auto store = open(to, db::migrations().back().number);
  const auto text = [&](const char* sql) {
    return store.db
        ->read([&](db::Connection& c) { return db::first(c, sql, [](const db::Row& row) { return row.text(0); }); })
        ->value();
  };
  EXPECT_EQ(text("SELECT name FROM experiment WHERE id = 7"), "e\ttab");
  EXPECT_EQ(text("SELECT id FROM last_experiment"), "7");  // made by a later step, from the rows that were restored
  EXPECT_EQ(read_file(to / "artifacts/7/r1/artifacts/x").value(), "content");
}

struct SchemaTest : tracking::StoreTest {};

TEST_F(SchemaTest, EveryTableOfTheSchemaCanBeBackedUpAndComesAfterWhatItRefersTo) {
  const auto tables = db->read([](db::Connection& c) { return c.tables(); });
  ASSERT_TRUE(tables) << tables.error().message;
  const auto place = [&](std::string_view name) {
    return std::find_if(tables->begin(), tables->end(), [&](const auto& table) { return table.name == name; }) -
           tables->begin();
  };
  ASSERT_TRUE(db->read([&](db::Connection& c) {
    return db::each(
        c, "SELECT m.name, f.\"table\" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f",
        [&](const db::Row& row) { EXPECT_LT(place(row.text_view(1)), place(row.text_view(0))) << row.text(0); });
  }));
}

TEST(Places, AreTheFoldersOfRunsAndModels) {
  EXPECT_EQ(place_of("mlflow-artifacts:/3/abc/artifacts"), "3/abc");
  EXPECT_EQ(place_of("mlflow-artifacts:/3/models/m-1/artifacts/x"), "3/models/m-1");
  EXPECT_EQ(place_of("3/abc/artifacts/model/MLmodel"), "3/abc");
  for (const auto* other : {"s3://bucket/3/abc/artifacts", "3/abc", "3", "", "3/abc/other/x"})
    EXPECT_EQ(place_of(other), "") << other;
}

}  // namespace
}  // namespace lathe::backup
