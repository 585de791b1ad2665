#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>

#include "base/log.h"
#include "db/dialect.h"
#include "db/migrate.h"
#include "db/postgres.h"
#include "db/postgres_lease.h"
#include "db/postgres_place.h"
#include "db/write_queue.h"

namespace lathe::db {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kReaders = 4;
/// PostgreSQL keeps up to 64 savepoints of a transaction at hand; beyond that, all readers become slower.
constexpr std::size_t kMostPerCommit = 60;
constexpr int kAttempts = 3;
constexpr auto kPatience = std::chrono::seconds{5};  ///< how long reads and writes wait for PostgreSQL to come back
constexpr auto kPatienceInDoubt = std::chrono::seconds{60};  ///< and those whose commit may have been kept
constexpr auto kBetweenAttempts = std::chrono::milliseconds{100};
constexpr auto kBetweenHopeless = std::chrono::seconds{1};  ///< an attempt may take seconds: not each request makes one
constexpr auto kLookAfterIdle = std::chrono::seconds{5};

/// When the store went away: then all wait for it together, and once their patience is over, new ones are told at once.
class Outage {
 public:
  /// Until when to wait.
  Clock::time_point failed(const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (!since_) {
      since_ = Clock::now();
      log::warn("the store is away why=\"{}\"", why);
    }
    failed_last_ = Clock::now();
    return *since_ + kPatience;
  }
  /// Nobody's patience is left, and somebody has just tried.
  bool hopeless() const {
    const std::lock_guard lock(mutex_);
    return since_ && Clock::now() > *since_ + kPatience && Clock::now() < failed_last_ + kBetweenHopeless;
  }
  void ended() {
    const std::lock_guard lock(mutex_);
    if (!since_) return;
    log::info("the store is back after_ms={}",
              std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - *since_).count());
    since_.reset();
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Clock::time_point> since_;
  Clock::time_point failed_last_;
};

class PostgresDatabase final : public Database {
 public:
  PostgresDatabase(std::string uri, std::function<void(const std::string&)> taken)
      : uri_(std::move(uri)), taken_(std::move(taken)), lease_(uri_) {}

  Result<void> open(const std::vector<Migration>& steps) {
    LATHE_TRY(writer_, lease_.open());
    const Migrating how{
        shown_place(uri_), "restore a copy that you made of the database", "BEGIN; SET LOCAL statement_timeout = 0",
        dialect::postgres_schema, [&](std::int64_t step) -> Result<void> {
          log::warn(
              "the schema of {} is being brought up to date from step {}; PostgreSQL's own backups are the way back",
              shown_place(uri_), step);
          return {};
        }};
    LATHE_CHECK(migrate(*writer_, how, steps));
    commits_ = lease_.commits();
    idle_readers_.resize(kReaders);  // opened when they are first needed
    thread_ = std::thread([this] { write_loop(); });
    return {};
  }

  /// For readers alone: without the lease, which a server may hold meanwhile.
  Result<void> open_to_read() {
    idle_readers_.resize(1);
    read_only_ = true;
    const auto looked = read_with([](Connection& c) -> Result<void> {
      LATHE_CHECK(run(c, "SELECT 1 FROM schema_step"));
      return {};
    });
    if (looked || looked.error().code != Code::internal) return looked;
    return fail(Code::not_found, fmt::format("there is no store in {}: is it the database that `lathe serve` has?", shown_place(uri_)));
  }

  ~PostgresDatabase() override {
    queue_.stop();
    if (thread_.joinable()) thread_.join();
    if (telling_.joinable()) telling_.join();
  }

  void submit(Work work, Done done) override {
    if (read_only_) return done(fail(Code::internal, "the store was opened for reading"));
    queue_.push(std::move(work), std::move(done));
  }

  Result<void> read_with(const Work& work) override {
    auto reader = take_reader();
    auto outcome = read_on(reader, work);
    give_reader(std::move(reader));
    return outcome;
  }

 private:
  using Session = std::unique_ptr<PostgresConnection>;

  // --- readers ---

  Result<void> read_on(Session& reader, const Work& work) {
    for (int attempt = 1;; ++attempt) {
      LATHE_CHECK(be_open(reader, [&] { return open_reader(); }));
      const auto answered = reader->answered();
      reader->before_next("BEGIN");
      auto outcome = run_guarded(work, *reader);
      if (reader->lost()) {
        // What saw nothing may look again.
        if (reader->answered() == answered && attempt < kAttempts) continue;
        return fail(*reader->failure());
      }
      if (outcome && reader->failure()) outcome = fail(*reader->failure());
      reader->forget_failure();
      if (!reader->take_back("BEGIN")) reader->send_off("COMMIT");
      return outcome;
    }
  }

  Result<Session> open_reader() const {
    LATHE_TRY(auto c, PostgresConnection::open(uri_));
    LATHE_CHECK(c->script(
        "SET jit = off; SET statement_timeout = '55s'; SET default_transaction_isolation = 'repeatable read'; "
        "SET default_transaction_read_only = on"));
    return c;
  }

  Session take_reader() {
    std::unique_lock lock(readers_mutex_);
    reader_idle_.wait(lock, [&] { return !idle_readers_.empty(); });
    auto reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
    return reader;
  }

  void give_reader(Session reader) {
    {
      const std::lock_guard lock(readers_mutex_);
      idle_readers_.push_back(std::move(reader));
    }
    reader_idle_.notify_one();
  }

  /// Opens a session that there is not, or that was lost, with patience.
  template <class Open>
  Result<void> be_open(Session& session, Open open) {
    if (session && !session->lost()) return {};
    session.reset();
    for (;;) {
      if (lost_lease_)
        return fail(Code::unavailable, "another `lathe serve` has taken over this store: this one is ending");
      if (outage_.hopeless()) return fail(Code::unavailable, "the store is away: try again in a moment");
      auto opened = open();
      if (opened) {
        session = std::move(*opened);
        outage_.ended();
        return {};
      }
      const auto patience = outage_.failed(opened.error().message);
      if (opened.error().code == Code::conflict) return fail(std::move(opened).error());
      if (Clock::now() >= patience || queue_.stopping())
        return fail(Code::unavailable, "the store is away: try again in a moment");
      queue_.pause(kBetweenAttempts);
    }
  }

  // --- the writer ---

  void write_loop() {
    for (;;) {
      auto batch = queue_.take(kMostPerCommit, kLookAfterIdle);
      if (!batch) return;
      if (batch->empty()) {
        // The lease went with the session: so that it is ours again soon.
        if (!lost_lease_ && (!writer_ || writer_->ended_meanwhile())) (void)reopen();
        continue;
      }
      if (auto kept = commit(*batch, true); !kept)
        for (auto& write : *batch) write.outcome = fail(kept.error());
      for (auto& write : *batch) write.done(std::move(write.outcome));
    }
  }

  Result<void> reopen() {
    auto open = be_open(writer_, [&] { return lease_.open(); });
    if (open || open.error().code != Code::conflict) return open;
    lost_lease_ = true;
    log::error("{}", open.error().message);
    telling_ = std::thread([this, why = open.error().message] { taken_(why); });
    return fail(Code::unavailable, open.error().message);
  }

  /// As `reopen`, with the patience that a commit in doubt is worth. The writes behind it are refused meanwhile.
  Result<void> reopen_in_doubt() {
    const auto deadline = Clock::now() + kPatienceInDoubt;
    for (;;) {
      auto open = reopen();
      if (open || lost_lease_ || queue_.stopping() || Clock::now() >= deadline) return open;
      if (auto waiting = queue_.take(kMostPerCommit, kBetweenAttempts))
        for (auto& write : *waiting) write.done(fail(open.error()));
    }
  }

  /// Commits all but the writes that fail by themselves, which get their outcome. An error: nothing was kept.
  /// `hold`: statements whose answer nobody needs travel with others. Should one of them fail, nobody can say whose it
  /// was: then each write goes alone, and waits for its answers.
  Result<void> commit(std::span<Write> batch, bool hold) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      LATHE_CHECK(reopen());
      writer_->hold_puts(hold);
      for (auto& write : batch) write.outcome = {};
      run_all(batch);
      if (writer_->lost()) continue;  // without COMMIT, PostgreSQL keeps nothing
      auto refused = writer_->stray_failure();
      if (!refused) {
        writer_->before_next(lease_.mark());
        const auto kept = writer_->execute("COMMIT", {});
        if (kept) {
          ++commits_;
          return {};
        }
        if (!writer_->lost()) refused = kept.error();
      }
      if (refused) {
        LATHE_CHECK(give_up(*refused));
        if (!hold) return fail(*refused);
        for (auto& write : batch)
          if (auto alone = commit({&write, 1}, false); !alone) write.outcome = fail(alone.error());
        return {};
      }
      // The session was lost at COMMIT, which may have been kept: the count of commits tells.
      if (!reopen_in_doubt())
        return fail(Code::unavailable,
                    "the store went away in the middle of a commit, and has not come back to tell whether this write "
                    "was kept: look before you repeat it");
      if (lease_.commits() != commits_) {
        commits_ = lease_.commits();
        return {};
      }
    }
    return fail(Code::unavailable, "the connection to PostgreSQL was lost again and again: try again in a moment");
  }

  /// All up to COMMIT. Stops early when the session is lost, or the transaction is of no more use.
  void run_all(std::span<Write> batch) {
    writer_->before_next("BEGIN");
    for (auto& write : batch) {
      writer_->before_next("SAVEPOINT one");
      write.outcome = run_guarded(write.work, *writer_);
      if (writer_->lost() || writer_->stray_failure()) return;
      if (write.outcome && writer_->failure()) write.outcome = fail(*writer_->failure());
      writer_->forget_failure();
      if (writer_->take_back("SAVEPOINT one")) continue;
      if (!write.outcome) writer_->before_next("ROLLBACK TO one");
      writer_->before_next("RELEASE one");
    }
  }

  /// Ends a transaction that was refused: nothing of it is kept.
  Result<void> give_up(const Error& why) {
    writer_->forget_failure();
    (void)writer_->execute("ROLLBACK", {});
    if (why.code != Code::conflict) return {};
    writer_.reset();  // perhaps the mark was: its CHECK knows a newer epoch, and so does a look at the lease
    return reopen();
  }

  const std::string uri_;
  const std::function<void(const std::string&)> taken_;
  Lease lease_;
  std::int64_t commits_ = 0;  ///< kept so far, those of servers before this one included
  std::atomic<bool> lost_lease_ = false;
  bool read_only_ = false;
  Outage outage_;
  Session writer_;
  WriteQueue queue_;
  std::thread thread_;
  std::thread telling_;

  std::mutex readers_mutex_;
  std::condition_variable reader_idle_;
  std::vector<Session> idle_readers_;
};

}  // namespace

Result<std::unique_ptr<Database>> open_postgres(const std::string& uri, const std::vector<Migration>& steps,
                                                std::function<void(const std::string&)> taken) {
  auto database = std::make_unique<PostgresDatabase>(uri, std::move(taken));
  LATHE_CHECK(database->open(steps));
  return database;
}

Result<std::unique_ptr<Database>> open_postgres_to_read(const std::string& uri) {
  auto database = std::make_unique<PostgresDatabase>(uri, [](const std::string&) {});
  LATHE_CHECK(database->open_to_read());
  return database;
}

}  // namespace lathe::db
