#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

/// The store. One interface over SQLite and PostgreSQL: SQL is written once, with parameters $1..$n, as both understand it
/// (db/dialect.h says how).
namespace lathe::db {

/// What a column holds. Texts are UTF-8.
struct Null {};
using Param = std::variant<Null, std::int64_t, double, std::string>;

/// What a statement is given for $n: a view, good while the caller's value lives. The lists are for `x = ANY($n)`.
using Integers = std::span<const std::int64_t>;
using Texts = std::span<const std::string_view>;
using Argument = std::variant<Null, std::int64_t, double, std::string_view, Integers, Texts>;

/// Makes an argument from what code has at hand; an empty optional is NULL.
inline Argument argument(std::int64_t value) { return value; }
inline Argument argument(int value) { return std::int64_t{value}; }
inline Argument argument(bool value) { return std::int64_t{value ? 1 : 0}; }
inline Argument argument(double value) { return value; }
inline Argument argument(const std::string& value) { return std::string_view(value); }
inline Argument argument(std::string_view value) { return value; }
inline Argument argument(const char* value) { return std::string_view(value); }
inline Argument argument(Null) { return Null{}; }
inline Argument argument(Integers values) { return values; }
inline Argument argument(Texts values) { return values; }
inline Argument argument(const std::vector<std::int64_t>& values) { return Integers(values); }
inline Argument argument(const std::vector<std::string_view>& values) { return Texts(values); }
template <class T>
Argument argument(const std::optional<T>& value) {
  return value ? argument(*value) : Argument{Null{}};
}

/// One column of rows to insert: a value for each row, or one value for all rows. Views, like Argument; never NULL.
using Column = std::variant<std::int64_t, Integers, std::span<const double>, Texts>;

/// One row of an answer, valid only inside the callback. Columns count from 0.
class Row {
 public:
  virtual ~Row() = default;
  virtual bool is_null(int column) const = 0;
  virtual std::int64_t integer(int column) const = 0;  ///< NULL reads as 0
  virtual double real(int column) const = 0;           ///< NULL reads as 0
  virtual std::string text(int column) const = 0;      ///< NULL reads as ""
  /// As `text`, without a copy; valid until the next row.
  virtual std::string_view text_view(int column) const = 0;

  std::optional<std::string> optional_text(int column) const {
    return is_null(column) ? std::nullopt : std::optional{text(column)};
  }
  std::optional<std::int64_t> optional_integer(int column) const {
    return is_null(column) ? std::nullopt : std::optional{integer(column)};
  }
  std::optional<double> optional_real(int column) const {
    return is_null(column) ? std::nullopt : std::optional{real(column)};
  }
};

/// A table as the database has it. Each column holds one kind of value, or NULL.
struct TableColumn {
  enum class Kind : std::uint8_t { integer, real, text };
  std::string name;
  Kind kind = Kind::text;
};
struct Table {
  std::string name;
  std::vector<TableColumn> columns;
};

/// One session with the database. Used by one thread at a time; statements are prepared once and kept.
class Connection {
 public:
  virtual ~Connection() = default;

  /// Runs one statement. `each` is called per row; returns the number of rows changed (for INSERT, UPDATE, DELETE).
  /// Errors: `conflict` — a unique or foreign key forbids it; `exhausted` — the disk is full; `internal` — else.
  virtual Result<std::int64_t> execute(std::string_view sql, std::span<const Argument> arguments,
                                       const std::function<void(const Row&)>& each = {}) = 0;

  /// The same with parameters that their maker keeps, for statements that are put together.
  Result<std::int64_t> run(std::string_view sql, const std::vector<Param>& params,
                           const std::function<void(const Row&)>& each = {});

  /// Inserts `rows` rows: `into` ("INSERT INTO pair (id, name)"), then the rows, then `otherwise` ("ON CONFLICT DO
  /// NOTHING"). Costs little more than the rows themselves. Each column holds one value or `rows` values; under DO UPDATE
  /// no two of these rows may conflict with each other. Returns the number of rows inserted or changed. Errors: as
  /// `execute`.
  virtual Result<std::int64_t> insert(std::string_view into, std::size_t rows, std::span<const Column> columns,
                                      std::string_view otherwise) = 0;

  /// As `insert`, for who needs no count. It may travel with what follows: its error may come with a later statement, or be
  /// the write's outcome.
  virtual Result<void> put(std::string_view into, std::size_t rows, std::span<const Column> columns,
                           std::string_view otherwise);

  /// Gives all rows of a SELECT without parameters, however many they are: never all of them in memory. For readers.
  virtual Result<void> scan(std::string_view sql, const std::function<void(const Row&)>& each) = 0;

  /// Runs several statements without parameters (migrations).
  virtual Result<void> script(std::string_view sql) = 0;

  /// All tables; a table comes after those that it refers to. Errors: `internal` — a column of a kind that is not known.
  virtual Result<std::vector<Table>> tables() = 0;

  /// What a thorough look at the database finds wrong, as sentences. Takes long.
  virtual Result<std::vector<std::string>> check() = 0;
};

namespace detail {
template <class... Args>
Result<std::int64_t> execute(Connection& c, std::string_view sql, const std::function<void(const Row&)>& each,
                             const Args&... args) {
  const std::array<Argument, sizeof...(Args)> arguments{argument(args)...};
  return c.execute(sql, arguments, each);
}
}  // namespace detail

/// `db::run(c, sql, id, name)`: runs a statement with these parameters. Returns the number of rows changed.
template <class... Args>
Result<std::int64_t> run(Connection& c, std::string_view sql, const Args&... args) {
  return detail::execute(c, sql, {}, args...);
}

/// `db::each(c, sql, [&](const Row& row) {...}, args...)`
template <class F, class... Args>
Result<void> each(Connection& c, std::string_view sql, F&& f, const Args&... args) {
  LATHE_CHECK(detail::execute(c, sql, std::forward<F>(f), args...));
  return {};
}

/// The first row as `read(row)` makes it, or nullopt.
template <class F, class... Args>
auto first(Connection& c, std::string_view sql, F&& read, const Args&... args)
    -> Result<std::optional<std::decay_t<decltype(read(std::declval<const Row&>()))>>> {
  std::optional<std::decay_t<decltype(read(std::declval<const Row&>()))>> out;
  const auto keep = [&](const Row& row) {
    if (!out) out = read(row);
  };
  LATHE_CHECK(detail::execute(c, sql, keep, args...));
  return out;
}

/// All rows as `read(row)` makes them.
template <class F, class... Args>
auto all(Connection& c, std::string_view sql, F&& read, const Args&... args)
    -> Result<std::vector<std::decay_t<decltype(read(std::declval<const Row&>()))>>> {
  std::vector<std::decay_t<decltype(read(std::declval<const Row&>()))>> out;
  const auto keep = [&](const Row& row) { out.push_back(read(row)); };
  LATHE_CHECK(detail::execute(c, sql, keep, args...));
  return out;
}

/// A database: one writer whose commits carry many writes, and readers beside it. Thread-safe.
///
/// Each write runs in a savepoint of its own: one that fails leaves its neighbours of the same commit untouched. A write
/// is reported done only when the commit that carries it is on disk (SQLite: WAL, synchronous=FULL). A store on another
/// machine may be away: then a write or a read waits for it for a few seconds, and fails as `unavailable`.
class Database {
 public:
  virtual ~Database() = default;

  using Work = std::function<Result<void>(Connection&)>;
  using Done = std::function<void(Result<void>)>;

  /// Queues `work` for the writer and returns at once. `done` is called on the writer's thread, after the commit (or with
  /// the error of `work`, which was rolled back); it must not block. `work` must not
  /// call into this Database, and may be run again when the first commit came to nothing (a full disk, a lost connection).
  virtual void submit(Work work, Done done) = 0;

  /// Runs `work` on a reader's connection, on the calling thread, in one snapshot. Blocks while all readers are busy.
  /// `work` may be run again when its first statement found the connection lost.
  virtual Result<void> read_with(const Work& work) = 0;

  /// As `submit`, waiting for the commit. Not for the I/O thread.
  Result<void> write_with(Work work);

  /// `LATHE_TRY(auto job, db.read([&](Connection& c) { return find_job(c, id); }));`
  template <class F>
  auto read(F&& f) -> decltype(f(std::declval<Connection&>())) {
    using R = decltype(f(std::declval<Connection&>()));
    std::optional<R> out;
    auto done = read_with([&](Connection& c) -> Result<void> {
      out = f(c);
      return {};
    });
    if (!done) return fail(std::move(done).error());
    return std::move(*out);
  }

  /// As `read`, on the writer, returning after the commit: `LATHE_TRY(auto id, db.write([&](Connection& c) {...}));`
  /// An error that `f` returns rolls its own changes back. Not for the I/O thread.
  template <class F>
  auto write(F&& f) -> decltype(f(std::declval<Connection&>())) {
    using R = decltype(f(std::declval<Connection&>()));
    std::optional<R> out;
    auto done = write_with([&](Connection& c) -> Result<void> {
      out = f(c);
      if (!*out) return fail(out->error());
      return {};
    });
    if (!done) return fail(std::move(done).error());
    return std::move(*out);
  }
};

/// A numbered step of the schema, embedded from migrations/NNNN_name.sql.
struct Migration {
  int number;
  std::string_view name;
  std::string_view sql;
};
const std::vector<Migration>& migrations();

/// Opens (or makes) the SQLite file and brings its schema up to date; before the first new step of an existing store, a
/// copy goes to `backups` beside it (`lathe-NNNN.db`). Errors: `conflict` — the store is newer than this program.
Result<std::unique_ptr<Database>> open_sqlite(const std::string& file, const std::vector<Migration>& steps);

/// Opens the PostgreSQL database at a libpq URI and brings its schema up to date, in one transaction. The store is this
/// program's alone: another's attempt to open it is refused, and should another have taken it over while PostgreSQL was
/// away, then this one never commits again and calls `taken` once, with a sentence, on a thread of its own.
/// Errors: `conflict` — the store is newer than this program, or another has it; `unavailable`, `invalid` — nobody answers
/// there, or refuses us.
Result<std::unique_ptr<Database>> open_postgres(const std::string& uri, const std::vector<Migration>& steps,
                                                std::function<void(const std::string&)> taken);

/// Opens the database at a libpq URI for reading, beside the server that has it or without one; writes are refused.
/// Errors: `not_found` — it holds no store.
Result<std::unique_ptr<Database>> open_postgres_to_read(const std::string& uri);

/// Opens the file for reading, beside the server that has it or without one; writes are refused. Errors: `not_found`.
Result<std::unique_ptr<Database>> open_sqlite_to_read(const std::string& file);

/// Writes the file anew without the room that deleted rows left. Nobody else may have it open.
Result<void> compact_sqlite(const std::string& file);

}  // namespace lathe::db
