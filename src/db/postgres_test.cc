// What only PostgreSQL does: sessions that are lost, and servers that want the same store.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "db/db.h"
#include "db/postgres_place.h"
#include "db/test_store.h"

namespace lathe::db {
namespace {

const std::vector<Migration> kSteps = {{1, "pair", "CREATE TABLE pair (id BIGINT PRIMARY KEY, name TEXT UNIQUE)"}};

struct Postgres : ::testing::Test {
  TestStore store{Kind::postgres};
  std::promise<std::string> taken;

  std::unique_ptr<Database> opened() {
    return std::move(
        open_postgres(store.uri(), kSteps, [this](const std::string& why) { taken.set_value(why); }).value());
  }
  static Result<void> insert(Database& db, std::int64_t id) {
    return db.write([&](Connection& c) { return run(c, "INSERT INTO pair (id, name) VALUES ($1, $1::text)", id); })
        .map([](auto) {});
  }
  static std::int64_t count(Database& db) {
    return db
        .read([](Connection& c) {
          return first(c, "SELECT count(*) FROM pair", [](const Row& row) { return row.integer(0); });
        })
        ->value();
  }
  /// Ends all sessions of the store but `me`.
  static std::int64_t end_sessions(PostgresConnection& me) {
    return run(me,
               "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
               "pg_backend_pid()")
        .value();
  }
};

TEST_F(Postgres, ASecondServerIsRefusedWithASentenceThatNamesTheFirst) {
  auto first = opened();
  const auto second = open_postgres(store.uri(), kSteps, [](const std::string&) {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
  EXPECT_NE(second.error().message.find("(process " + std::to_string(::getpid()) + ")"), std::string::npos)
      << second.error().message;
  first.reset();
  EXPECT_TRUE(opened());
}

TEST_F(Postgres, LostSessionsAreOpenedAnewAndNothingIsLostOrDoneTwice) {
  auto db = opened();
  auto other = store.session();
  std::atomic<bool> ended = false;
  std::atomic<int> kept = 0;
  std::thread killer([&] {
    for (int seen = 0; !ended; std::this_thread::yield()) {
      if (kept < seen + 7) continue;
      seen = kept;
      end_sessions(*other);
    }
  });
  constexpr int kThreads = 4, kWrites = 50;
  std::vector<std::string> errors[kThreads];
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t)
    writers.emplace_back([&, t] {
      for (int i = 0; i < kWrites; ++i) {
        for (;;) {
          const auto done = insert(*db, t * 1000 + i);
          if (!done && done.error().code == Code::unavailable) continue;  // nothing was kept: again
          if (!done) errors[t].push_back(done.error().message);           // such as: it is there already
          break;
        }
        ++kept;
      }
    });
  for (auto& writer : writers) writer.join();
  ended = true;
  killer.join();
  for (const auto& list : errors) EXPECT_EQ(list, std::vector<std::string>{});
  EXPECT_EQ(count(*db), kThreads * kWrites);
}

TEST_F(Postgres, AReadWhoseSessionWasLostIsAnsweredByANewOne) {
  auto db = opened();
  ASSERT_TRUE(insert(*db, 1));
  ASSERT_EQ(count(*db), 1);
  auto other = store.session();
  ASSERT_GE(end_sessions(*other), 2);
  EXPECT_EQ(count(*db), 1);
}

TEST_F(Postgres, AServerThatLostTheStoreToAnotherNeverWritesAgain) {
  auto old = opened();
  ASSERT_TRUE(insert(*old, 1));
  auto other = store.session();
  end_sessions(*other);
  auto fresh = store.open(kSteps);
  ASSERT_TRUE(fresh) << fresh.error().message;
  const auto refused = insert(*old, 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_NE(taken.get_future().get().find("taken over"), std::string::npos);
  EXPECT_TRUE(insert(**fresh, 3));
  fresh->reset();
  EXPECT_FALSE(insert(*old, 4)) << "not when the other is gone, either";
  EXPECT_EQ(first(*other, "SELECT sum(id)::bigint FROM pair", [](const Row& row) { return row.integer(0); })->value(),
            4);
}

TEST_F(Postgres, ASessionThatStillRunsIsFencedByTheEpoch) {
  auto old = opened();
  ASSERT_TRUE(insert(*old, 1));
  auto other = store.session();
  // As a new holder does, when the lock was lost without the session: nothing but the epoch stands between them.
  ASSERT_TRUE(run(*other, "UPDATE store_lease SET epoch = epoch + 1, writer = epoch + 1"));
  EXPECT_FALSE(insert(*old, 2));
  EXPECT_EQ(first(*other, "SELECT count(*) FROM pair", [](const Row& row) { return row.integer(0); })->value(), 1);
}

TEST_F(Postgres, WhatItRefusesOfTextsAndNumbersIsTheCallersFault) {
  auto db = opened();
  const auto name = [&](std::string_view text) {
    return db->write([&](Connection& c) { return run(c, "INSERT INTO pair (id, name) VALUES ($1, $2)", 1, text); });
  };
  EXPECT_EQ(name(std::string_view("a\0b", 3)).error().code, Code::invalid);
  EXPECT_EQ(name("\xff").error().code, Code::invalid);
  std::string incompressible;
  while (incompressible.size() < 20'000) incompressible += random_hex(16);
  EXPECT_EQ(name(incompressible).error().code, Code::invalid);
  EXPECT_EQ(
      db->write([](Connection& c) { return run(c, "INSERT INTO pair (id) VALUES ($1 + 1)", INT64_MAX); }).error().code,
      Code::invalid);
  EXPECT_EQ(count(*db), 0);
}

TEST(PostgresPlace, IsShownWithoutItsPassword) {
  EXPECT_EQ(shown_place("postgresql://ann:se%40cret@db:5433/lathe?sslmode=require"), "postgresql://ann@db:5433/lathe");
  EXPECT_EQ(shown_place("postgresql:///lathe?host=/run/pg&user=ann&password=secret"),
            "postgresql://ann@/lathe?host=/run/pg");
  EXPECT_TRUE(has_password("postgresql:///lathe?password=secret"));
  EXPECT_FALSE(has_password("postgresql://ann@db/lathe"));
  for (const auto* unreadable :
       {"postgresql://ann:se/cret@db/lathe", "postgresql://ann:se@cret@db/lathe", "postgresql://a b"}) {
    EXPECT_FALSE(is_readable_place(unreadable)) << unreadable;
    EXPECT_EQ(shown_place(unreadable).find("cret"), std::string::npos) << unreadable;
  }
}

TEST(PostgresPlace, NobodyThereIsUnavailableInOneSentence) {
  const auto refused = open_postgres("postgresql://ann:secret@127.0.0.1:1/lathe", kSteps, [](const std::string&) {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_NE(refused.error().message.find("postgresql://ann@127.0.0.1:1/lathe"), std::string::npos);
  EXPECT_EQ(refused.error().message.find("secret"), std::string::npos);
  EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace lathe::db
