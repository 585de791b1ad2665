#include "db/postgres_lease.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "db/dialect.h"
#include "db/postgres_place.h"

namespace lathe::db {
namespace {

constexpr auto kLockWait = std::chrono::seconds{3};
constexpr int kLockKey = 0x6c617468;  // "lath"

constexpr std::string_view kTable = R"sql(
  CREATE TABLE IF NOT EXISTS store_lease (
    id      BIGINT PRIMARY KEY,
    epoch   BIGINT NOT NULL,
    writer  BIGINT NOT NULL,   -- the epoch of the server that committed last
    commits BIGINT NOT NULL,
    holder  TEXT NOT NULL,
    CONSTRAINT only_the_holder_writes CHECK (writer = epoch)
  ))sql";

/// The writer finds its rows by keys: without statistics (a new table) the planner may think that reading all is as
/// good. A crash of PostgreSQL must not take acknowledged commits, whatever its configuration says of others.
constexpr std::string_view kSession = R"sql(
  SET jit = off; SET enable_seqscan = off; SET statement_timeout = '55s'; SET lock_timeout = '10s';
  SET idle_in_transaction_session_timeout = 0; SET default_transaction_isolation = 'read committed';
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local'))sql";

std::string holder() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return fmt::format("the one on {} (process {}), since {}", name.data(), ::getpid(), to_iso8601(now()));
}

std::string text_of(const Row& row) {
  return row.text(0);
}

}  // namespace

Result<std::unique_ptr<PostgresConnection>> Lease::open() {
  LATHE_TRY(auto c, PostgresConnection::open(uri_));
  LATHE_CHECK(c->script(kSession));
  LATHE_CHECK(lock(*c));
  if (epoch_ == 0)
    LATHE_CHECK(begin_epoch(*c));
  else
    LATHE_CHECK(check_epoch(*c));
  process_ = c->process();
  return c;
}

Result<void> Lease::lock(PostgresConnection& c) {
  // A server that was killed leaves a session that PostgreSQL needs a moment to notice; our own last one we can end.
  const auto deadline = std::chrono::steady_clock::now() + kLockWait;
  const auto kTry = fmt::format("SELECT pg_try_advisory_lock({}, 0)", kLockKey);
  const auto kEnd = fmt::format(
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = {} AND pid = "
      "$1",
      kLockKey);
  for (;;) {
    LATHE_TRY(const auto got, first(c, kTry, [](const Row& row) { return row.integer(0) != 0; }));
    if (got.value_or(false)) return {};
    LATHE_TRY(const auto ours, run(c, kEnd, process_));
    if (std::chrono::steady_clock::now() >= deadline) {
      if (ours > 0) return fail(Code::unavailable, "PostgreSQL has not ended our last session yet");
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  if (epoch_ != 0) return fail(taken_over());
  std::string who = "another one";
  if (auto known = first(c, "SELECT holder FROM store_lease WHERE id = 1", text_of); known && *known) who = **known;
  return fail(Code::conflict,
              fmt::format("the store {} is in use by another `lathe serve`, {}: stop that one first, or give this "
                          "one a database of its own",
                          shown_place(uri_), who));
}

Error Lease::taken_over() const {
  return {Code::conflict,
          fmt::format(
              "another `lathe serve` has taken over the store {} while PostgreSQL was away: this one writes no more",
              shown_place(uri_)),
          {}};
}

Result<void> Lease::begin_epoch(PostgresConnection& c) {
  if (auto made = c.script(dialect::postgres_schema(kTable)); !made)
    return fail_in("the store " + shown_place(uri_), made.error());
  LATHE_CHECK(run(
      c,
      "INSERT INTO store_lease (id, epoch, writer, commits, holder) VALUES (1, 0, 0, 0, '') ON CONFLICT DO NOTHING"));
  const auto take = [&](const Row& row) {
    epoch_ = row.integer(0);
    commits_ = row.integer(1);
  };
  LATHE_CHECK(each(c,
                   "UPDATE store_lease SET epoch = epoch + 1, writer = epoch + 1, holder = $1 RETURNING epoch, commits",
                   take, holder()));
  mark_ = fmt::format("UPDATE store_lease SET commits = commits + 1, writer = {}", epoch_);
  const auto safe = first(c, "SELECT current_setting('fsync')", text_of);
  if (safe && *safe == "off")
    log::warn("PostgreSQL runs with fsync=off: a crash of its machine may lose what was acknowledged");
  return {};
}

Result<void> Lease::check_epoch(PostgresConnection& c) {
  // FOR UPDATE waits for a commit of our last session that is still on its way.
  LATHE_TRY(const auto same,
            first(c, "SELECT epoch, commits FROM store_lease WHERE id = 1 FOR UPDATE", [&](const Row& row) {
              commits_ = row.integer(1);
              return row.integer(0) == epoch_;
            }));
  if (same.value_or(false)) return {};
  return fail(taken_over());
}

}  // namespace lathe::db
