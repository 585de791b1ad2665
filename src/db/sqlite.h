#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "db/db.h"

struct sqlite3;
struct sqlite3_stmt;

namespace lathe::db {

/// One SQLite session with its prepared statements. One thread at a time.
class SqliteConnection final : public Connection {
 public:
  static Result<std::unique_ptr<SqliteConnection>> open(const std::string& file, bool read_only);
  ~SqliteConnection() override;
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  Result<std::int64_t> execute(std::string_view sql, std::span<const Argument> arguments,
                               const std::function<void(const Row&)>& each = {}) override;
  Result<std::int64_t> insert(std::string_view into, std::size_t rows, std::span<const Column> columns,
                              std::string_view otherwise) override;
  Result<void> scan(std::string_view sql, const std::function<void(const Row&)>& each) override;
  Result<void> script(std::string_view sql) override;
  Result<std::vector<Table>> tables() override;
  Result<std::vector<std::string>> check() override;
  /// Looks at all pages of the file. Errors: `internal` — it is damaged; the message says what to do.
  Result<void> check_sound();
  /// The size of the WAL after this connection's last commit; nothing is copied out of it but by `checkpoint`.
  int wal_pages() const { return wal_pages_; }
  /// Copies what the WAL holds into the database, without waiting for anybody. Returns how many pages are left that others
  /// wrote meanwhile or still read.
  Result<int> checkpoint();
  /// Whether a transaction is open: SQLite itself ends one when the disk is full.
  bool in_transaction() const;

 private:
  struct Statement {
    sqlite3_stmt* handle = nullptr;
    std::vector<std::size_t> order;  ///< SQLite's parameter i takes arguments[order[i]]
  };
  explicit SqliteConnection(sqlite3* handle) : db_(handle) {}
  Result<Statement*> prepared(std::string_view sql);
  Error error(int rc) const;
  Error damaged(std::string_view why) const;

  sqlite3* db_;
  int wal_pages_ = 0;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, Statement, Hash, std::equal_to<>> statements_;
};

/// Makes `lathe_list($n)` known: a table of one column, value, with the values of the Integers or Texts in the Argument
/// that is bound as a pointer of kListType. Returns SQLite's result code.
int register_list(sqlite3* db);
inline constexpr const char* kListType = "lathe";

}  // namespace lathe::db
