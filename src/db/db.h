#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

/// The store. One interface over SQLite (and, later, PostgreSQL): SQL is written once, with parameters $1..$n.
namespace lathe::db {

/// What a column or parameter holds. Texts are UTF-8.
struct Null {};
using Param = std::variant<Null, std::int64_t, double, std::string>;

/// Makes a parameter from what code has at hand; an empty optional is NULL.
inline Param param(std::int64_t value) { return value; }
inline Param param(int value) { return std::int64_t{value}; }
inline Param param(bool value) { return std::int64_t{value ? 1 : 0}; }
inline Param param(double value) { return value; }
inline Param param(std::string value) { return value; }
inline Param param(std::string_view value) { return std::string(value); }
inline Param param(const char* value) { return std::string(value); }
inline Param param(Null) { return Null{}; }
template <class T>
Param param(const std::optional<T>& value) {
  return value ? param(*value) : Param{Null{}};
}

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

/// One session with the database. Used by one thread at a time; statements are prepared once and kept.
class Connection {
 public:
  virtual ~Connection() = default;

  /// Runs one statement. `each` is called per row; returns the number of rows changed (for INSERT, UPDATE, DELETE).
  /// Errors: `conflict` — a unique or foreign key forbids it; `exhausted` — the disk is full; `internal` — else.
  virtual Result<std::int64_t> run(std::string_view sql, const std::vector<Param>& params,
                                   const std::function<void(const Row&)>& each = {}) = 0;

  /// Runs several statements without parameters (migrations).
  virtual Result<void> script(std::string_view sql) = 0;
};

/// `db::run(c, sql, id, name)`: runs a statement with these parameters. Returns the number of rows changed.
template <class... Args>
Result<std::int64_t> run(Connection& c, std::string_view sql, const Args&... args) {
  return c.run(sql, std::vector<Param>{param(args)...});
}

/// `db::each(c, sql, [&](const Row& row) {...}, args...)`
template <class F, class... Args>
Result<void> each(Connection& c, std::string_view sql, F&& f, const Args&... args) {
  LATHE_CHECK(c.run(sql, std::vector<Param>{param(args)...}, std::forward<F>(f)));
  return {};
}

/// The first row as `read(row)` makes it, or nullopt.
template <class F, class... Args>
auto first(Connection& c, std::string_view sql, F&& read, const Args&... args)
    -> Result<std::optional<std::decay_t<decltype(read(std::declval<const Row&>()))>>> {
  std::optional<std::decay_t<decltype(read(std::declval<const Row&>()))>> out;
  LATHE_CHECK(c.run(sql, std::vector<Param>{param(args)...}, [&](const Row& row) {
    if (!out) out = read(row);
  }));
  return out;
}

/// All rows as `read(row)` makes them.
template <class F, class... Args>
auto all(Connection& c, std::string_view sql, F&& read, const Args&... args)
    -> Result<std::vector<std::decay_t<decltype(read(std::declval<const Row&>()))>>> {
  std::vector<std::decay_t<decltype(read(std::declval<const Row&>()))>> out;
  LATHE_CHECK(c.run(sql, std::vector<Param>{param(args)...}, [&](const Row& row) { out.push_back(read(row)); }));
  return out;
}

/// A database: one writer whose commits carry many writes, and readers beside it. Thread-safe.
///
/// Each write runs in a savepoint of its own: one that fails leaves its neighbours of the same commit untouched. A write
/// is reported done only when the commit that carries it is on disk (SQLite: WAL, synchronous=FULL).
class Database {
 public:
  virtual ~Database() = default;

  using Work = std::function<Result<void>(Connection&)>;
  using Done = std::function<void(Result<void>)>;

  /// Queues `work` for the writer and returns at once. `done` is called on the writer's thread, after the commit (or with
  /// the error of `work`, which was rolled back); it must not block. `work` must not
  /// call into this Database, and may be run a second time when a full disk took the first commit away.
  virtual void submit(Work work, Done done) = 0;

  /// Runs `work` on a reader's connection, on the calling thread, in one snapshot. Blocks while all readers are busy.
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

}  // namespace lathe::db
