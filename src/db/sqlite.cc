#include "db/sqlite.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <charconv>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "base/file.h"
#include "base/log.h"
#include "db/checkpointer.h"
#include "db/dialect.h"
#include "db/migrate.h"
#include "db/write_queue.h"

namespace lathe::db {
namespace {

constexpr int kReaders = 4;
constexpr std::size_t kMostPerCommit = 2048;
constexpr std::size_t kMostStatements = 512;

class SqliteRow final : public Row {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}
  bool is_null(int column) const override { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::int64_t integer(int column) const override { return sqlite3_column_int64(statement_, column); }
  double real(int column) const override { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const override { return std::string(text_view(column)); }
  std::string_view text_view(int column) const override {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return bytes == nullptr ? std::string_view{}
                            : std::string_view{bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  sqlite3_stmt* statement_;
};

int bind(sqlite3_stmt* statement, int index, std::int64_t value) { return sqlite3_bind_int64(statement, index, value); }
int bind(sqlite3_stmt* statement, int index, double value) { return sqlite3_bind_double(statement, index, value); }
int bind(sqlite3_stmt* statement, int index, std::string_view value) {
  static constexpr char kEmpty[] = "";  // a null pointer would be NULL
  return sqlite3_bind_text64(statement, index, value.empty() ? kEmpty : value.data(), value.size(), SQLITE_STATIC,
                             SQLITE_UTF8);
}
int bind(sqlite3_stmt* statement, int index, Null) { return sqlite3_bind_null(statement, index); }
int bind(sqlite3_stmt* statement, int index, const Argument& argument) {
  return std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, Integers> || std::is_same_v<T, Texts>)
          return sqlite3_bind_pointer(statement, index, const_cast<Argument*>(&argument), kListType, nullptr);
        else
          return bind(statement, index, value);
      },
      argument);
}

}  // namespace

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(const std::string& file, bool read_only) {
  // Made here, since SQLite would let everybody read it; its WAL gets the same mode. Never a file that is open already:
  // closing it would drop SQLite's locks.
  if (!read_only) Fd{::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  sqlite3* handle = nullptr;
  const int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) | SQLITE_OPEN_NOMUTEX;
  const int rc = sqlite3_open_v2(file.c_str(), &handle, flags, nullptr);
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(handle));
  if (rc != SQLITE_OK) return fail_in("cannot open the store " + file, connection->error(rc));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 10'000);
  if (const int listed = register_list(handle); listed != SQLITE_OK) return fail(connection->error(listed));
  LATHE_CHECK(connection->script(dialect::kSqliteSession));
  static constexpr auto kWriter = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                                  "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16000";
  LATHE_CHECK(connection->script(read_only ? "PRAGMA query_only=ON; PRAGMA cache_size=-4000" : kWriter));
  const auto note = [](void* self, sqlite3*, const char*, int pages) {
    static_cast<SqliteConnection*>(self)->wal_pages_ = pages;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(handle, note, connection.get());
  return connection;
}

SqliteConnection::~SqliteConnection() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement.handle);
  sqlite3_close(db_);
}

Result<int> SqliteConnection::checkpoint() {
  int pages = 0, copied = 0;
  const int rc = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
  if (rc == SQLITE_BUSY) return pages;  // another connection is at it
  if (rc != SQLITE_OK) return fail(error(rc));
  return pages - copied;
}

bool SqliteConnection::in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }

Error SqliteConnection::error(int rc) const {
  const std::string message = sqlite3_errmsg(db_);
  switch (rc & 0xff) {
    case SQLITE_FULL: return {Code::exhausted, "the disk that holds the store is full: nothing of this write was kept", {}};
    case SQLITE_CONSTRAINT: return {Code::conflict, message, {}};
    case SQLITE_BUSY: return {Code::unavailable, "the store is locked by another program", {}};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(message);
    default: break;
  }
  if (rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_SHMSIZE)
    return {Code::exhausted, "writing the store failed (is the disk full?): nothing of this write was kept", {}};
  return {Code::internal, "the store answered: " + message, {}};
}

Error SqliteConnection::damaged(std::string_view why) const {
  const std::filesystem::path file(sqlite3_db_filename(db_, "main"));
  const auto folder = file.parent_path().string();
  return {Code::internal,
          fmt::format(
              "the store {} is damaged ({}). Bring a backup back with `lathe store restore BACKUP --data {} --force`, "
              "which puts the damaged one aside; copies from before each change of the schema are in {}/backups",
              file.string(), why, folder, folder),
          {}};
}

Result<void> SqliteConnection::check_sound() {
  LATHE_TRY(const auto found, first(*this, "PRAGMA integrity_check(1)", [](const Row& row) { return row.text(0); }));
  if (found && *found != "ok") return fail(damaged(*found));
  return {};
}

Result<SqliteConnection::Statement*> SqliteConnection::prepared(std::string_view sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) return &found->second;
  Statement statement;
  const auto written = dialect::sqlite_statement(sql);
  const int rc = sqlite3_prepare_v3(db_, written.data(), static_cast<int>(written.size()), SQLITE_PREPARE_PERSISTENT,
                                    &statement.handle, nullptr);
  if (rc != SQLITE_OK) return fail(error(rc));
  for (int i = 1; i <= sqlite3_bind_parameter_count(statement.handle); ++i) {
    const std::string_view name = sqlite3_bind_parameter_name(statement.handle, i);  // "$3"
    std::size_t number = 0;
    std::from_chars(name.data() + 1, name.data() + name.size(), number);
    if (number == 0) return fail(Code::internal, "SQL parameters are written $1, $2, ...");
    statement.order.push_back(number - 1);
  }
  // Searches make statements of ever new shapes: those at rest go when there are too many.
  if (statements_.size() >= kMostStatements)
    std::erase_if(statements_, [](const auto& item) {
      const bool at_rest = sqlite3_stmt_busy(item.second.handle) == 0;
      if (at_rest) sqlite3_finalize(item.second.handle);
      return at_rest;
    });
  return &statements_.emplace(std::string(sql), std::move(statement)).first->second;
}

namespace {

struct Reset {
  sqlite3_stmt* handle;
  ~Reset() {
    sqlite3_reset(handle);
    sqlite3_clear_bindings(handle);
  }
};

}  // namespace

Result<std::int64_t> SqliteConnection::execute(std::string_view sql, std::span<const Argument> arguments,
                                               const std::function<void(const Row&)>& each) {
  LATHE_TRY(auto* statement, prepared(sql));
  const Reset reset{statement->handle};
  for (std::size_t i = 0; i < statement->order.size(); ++i) {
    const auto at = statement->order[i];
    if (at >= arguments.size()) return fail(Code::internal, "a statement has more parameters than values");
    if (const int rc = bind(statement->handle, static_cast<int>(i + 1), arguments[at]); rc != SQLITE_OK)
      return fail(error(rc));
  }
  const SqliteRow row(statement->handle);
  for (;;) {
    const int rc = sqlite3_step(statement->handle);
    if (rc == SQLITE_DONE) return sqlite3_changes64(db_);
    if (rc != SQLITE_ROW) return fail(error(rc));
    if (each) each(row);
  }
}

Result<std::int64_t> SqliteConnection::insert(std::string_view into, std::size_t rows, std::span<const Column> columns,
                                              std::string_view otherwise) {
  std::string sql(into);
  for (std::size_t i = 0; i < columns.size(); ++i) sql += (i == 0 ? " VALUES ($" : ", $") + std::to_string(i + 1);
  sql.append(") ").append(otherwise);
  LATHE_TRY(auto* statement, prepared(sql));
  const Reset reset{statement->handle};
  const auto before = sqlite3_total_changes64(db_);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const int index = static_cast<int>(i + 1);
      const int rc = std::visit(
          [&](const auto& values) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(values)>, std::int64_t>)
              return bind(statement->handle, index, values[row]);
            else
              return row == 0 ? bind(statement->handle, index, values) : SQLITE_OK;  // bindings stay over a reset
          },
          columns[i]);
      if (rc != SQLITE_OK) return fail(error(rc));
    }
    if (const int rc = sqlite3_step(statement->handle); rc != SQLITE_DONE) return fail(error(rc));
    sqlite3_reset(statement->handle);
  }
  return sqlite3_total_changes64(db_) - before;
}

Result<void> SqliteConnection::scan(std::string_view sql, const std::function<void(const Row&)>& each) {
  LATHE_CHECK(execute(sql, {}, each));
  return {};
}

Result<void> SqliteConnection::script(std::string_view sql) {
  const int rc = sqlite3_exec(db_, std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return fail(error(rc));
  return {};
}

Result<std::vector<Table>> SqliteConnection::tables() {
  // In the order in which they were made: a table can only refer to earlier ones.
  static constexpr auto kSql = R"sql(
    SELECT m.name, p.name, p.type FROM sqlite_master m JOIN pragma_table_info(m.name) p
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY m.rowid, p.cid)sql";
  using Kind = TableColumn::Kind;
  std::vector<Table> out;
  std::string unknown;
  LATHE_CHECK(db::each(*this, kSql, [&](const Row& row) {
    if (out.empty() || out.back().name != row.text_view(0)) out.push_back({row.text(0), {}});
    const auto type = row.text(2);
    const auto kind = type == "BIGINT" || type == "INTEGER" ? Kind::integer : type == "DOUBLE PRECISION" ? Kind::real : Kind::text;
    if (kind == Kind::text && type != "TEXT") unknown = fmt::format("{}.{} is {}", row.text(0), row.text(1), type);
    out.back().columns.push_back({row.text(1), kind});
  }));
  if (!unknown.empty()) return fail(Code::internal, "a column of a kind that is not known: " + unknown);
  return out;
}

Result<std::vector<std::string>> SqliteConnection::check() {
  std::vector<std::string> out;
  LATHE_CHECK(db::each(*this, "PRAGMA integrity_check", [&](const Row& row) {
    if (row.text_view(0) != "ok") out.push_back("the store's file is damaged: " + row.text(0));
  }));
  if (!out.empty()) return out;
  LATHE_CHECK(db::each(*this, "PRAGMA foreign_key_check", [&](const Row& row) {
    out.push_back(fmt::format("a row of {} names a row of {} that is not there", row.text(0), row.text(2)));
  }));
  return out;
}

namespace {

/// A copy beside the store, in the folder backups, before its schema is changed.
Result<void> keep_copy(SqliteConnection& connection, const std::string& file, std::int64_t step) {
  const auto folder = std::filesystem::path(file).parent_path() / "backups";
  LATHE_CHECK(make_folder(folder));
  const auto copy = folder / fmt::format("lathe-{:04}.db", step);
  std::error_code ignored;
  std::filesystem::remove(copy, ignored);
  LATHE_CHECK(run(connection, "VACUUM INTO $1", copy.string()));
  return {};
}

class SqliteDatabase final : public Database {
 public:
  static Result<std::unique_ptr<Database>> open(const std::string& file, const std::vector<Migration>& steps) {
    LATHE_TRY(auto writer, SqliteConnection::open(file, false));
    const Migrating how{file, "restore a copy from the folder backups", "BEGIN IMMEDIATE",
                        [](std::string_view sql) { return std::string(sql); },
                        [&](std::int64_t step) { return keep_copy(*writer, file, step); }};
    if (auto migrated = migrate(*writer, how, steps); !migrated) {
      if (migrated.error().code == Code::internal) LATHE_CHECK(writer->check_sound());  // damage looks like anything
      return fail(migrated.error());
    }
    auto database = std::make_unique<SqliteDatabase>();
    for (int i = 0; i < kReaders; ++i) {
      LATHE_TRY(auto reader, SqliteConnection::open(file, true));
      database->idle_readers_.push_back(std::move(reader));
    }
    LATHE_TRY(auto copier, SqliteConnection::open(file, false));
    database->checkpointer_ = std::make_unique<Checkpointer>(std::move(copier));
    database->writer_ = std::move(writer);
    database->thread_ = std::thread([raw = database.get()] { raw->write_loop(); });
    return database;
  }

  static Result<std::unique_ptr<Database>> open_to_read(const std::string& file) {
    if (::access(file.c_str(), R_OK) != 0) return fail(errno_error("cannot read the store " + file));
    LATHE_TRY(auto reader, SqliteConnection::open(file, true));
    auto database = std::make_unique<SqliteDatabase>();
    database->idle_readers_.push_back(std::move(reader));
    return database;
  }

  ~SqliteDatabase() override {
    queue_.stop();
    if (thread_.joinable()) thread_.join();
  }

  void submit(Work work, Done done) override {
    if (!writer_) return done(fail(Code::internal, "the store was opened for reading"));
    queue_.push(std::move(work), std::move(done));
  }

  Result<void> read_with(const Work& work) override {
    auto reader = take_reader();
    auto outcome = reader->script("BEGIN");
    if (outcome) {
      outcome = run_guarded(work, *reader);
      auto ended = reader->script("COMMIT");
      if (!ended && outcome) outcome = std::move(ended);
    }
    give_reader(std::move(reader));
    return outcome;
  }

 private:
  std::unique_ptr<SqliteConnection> take_reader() {
    std::unique_lock lock(readers_mutex_);
    reader_idle_.wait(lock, [&] { return !idle_readers_.empty(); });
    auto reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
    return reader;
  }

  void give_reader(std::unique_ptr<SqliteConnection> reader) {
    {
      const std::lock_guard lock(readers_mutex_);
      idle_readers_.push_back(std::move(reader));
    }
    reader_idle_.notify_one();
  }

  void write_loop() {
    for (;;) {
      auto batch = queue_.take(kMostPerCommit);
      if (!batch) return;
      // A full disk makes SQLite end the transaction, which takes innocent neighbours along: then each goes alone.
      if (!commit_together(*batch))
        for (auto& write : *batch) commit_alone(write);
      for (auto& write : *batch) write.done(std::move(write.outcome));
      checkpointer_->after_commit(*writer_);
    }
  }

  /// False: the transaction as a whole was lost, and nothing of it was kept.
  bool commit_together(std::vector<Write>& batch) {
    if (!writer_->execute("BEGIN IMMEDIATE", {})) return false;
    const bool alone = batch.size() == 1;
    for (auto& write : batch) {
      if (!alone && !writer_->execute("SAVEPOINT one", {})) return give_up();
      write.outcome = run_guarded(write.work, *writer_);
      if (!writer_->in_transaction()) return false;
      if (alone) {
        if (!write.outcome) return writer_->execute("ROLLBACK", {}).has_value();
      } else {
        if (!write.outcome && !writer_->execute("ROLLBACK TO one", {})) return give_up();
        if (!writer_->execute("RELEASE one", {})) return give_up();
      }
    }
    return writer_->execute("COMMIT", {}) ? true : give_up();
  }

  void commit_alone(Write& write) {
    if (auto begun = writer_->execute("BEGIN IMMEDIATE", {}); !begun) {
      write.outcome = fail(begun.error());
      return;
    }
    write.outcome = run_guarded(write.work, *writer_);
    if (write.outcome && writer_->in_transaction()) {
      auto committed = writer_->execute("COMMIT", {});
      if (committed) return;
      write.outcome = fail(committed.error());
    } else if (write.outcome) {
      write.outcome = fail(Code::exhausted, "the disk that holds the store is full: nothing of this write was kept");
    }
    give_up();
  }

  bool give_up() {
    if (writer_->in_transaction() && !writer_->execute("ROLLBACK", {})) log::error("the store refused to roll back");
    return false;
  }

  std::unique_ptr<SqliteConnection> writer_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::thread thread_;
  WriteQueue queue_;

  std::mutex readers_mutex_;
  std::condition_variable reader_idle_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_;
};

}  // namespace

Result<std::unique_ptr<Database>> open_sqlite(const std::string& file, const std::vector<Migration>& steps) {
  return SqliteDatabase::open(file, steps);
}

Result<std::unique_ptr<Database>> open_sqlite_to_read(const std::string& file) {
  return SqliteDatabase::open_to_read(file);
}

Result<void> compact_sqlite(const std::string& file) {
  LATHE_TRY(auto connection, SqliteConnection::open(file, false));
  return connection->script("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace lathe::db
