#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "db/db.h"

struct pg_conn;
struct pg_result;

namespace lathe::db {

/// One PostgreSQL session, in libpq's pipeline mode: statements whose answer need not be seen (BEGIN, SAVEPOINT, a
/// reader's COMMIT) travel with another one, so that a statement costs one round trip. One thread at a time.
class PostgresConnection final : public Connection {
 public:
  /// Errors: `unavailable` — nobody answers there; `invalid` — it answers, and refuses us or is not what we need.
  static Result<std::unique_ptr<PostgresConnection>> open(const std::string& uri);
  ~PostgresConnection() override;
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  Result<std::int64_t> execute(std::string_view sql, std::span<const Argument> arguments,
                               const std::function<void(const Row&)>& each = {}) override;
  Result<std::int64_t> insert(std::string_view into, std::size_t rows, std::span<const Column> columns,
                              std::string_view otherwise) override;
  Result<void> put(std::string_view into, std::size_t rows, std::span<const Column> columns,
                   std::string_view otherwise) override;
  Result<void> scan(std::string_view sql, const std::function<void(const Row&)>& each) override;
  Result<void> script(std::string_view sql) override;
  Result<std::vector<Table>> tables() override;
  Result<std::vector<std::string>> check() override;

  /// Sends `sql` just before the next statement, which fails when it does.
  void before_next(std::string_view sql) { first_.emplace_back(sql); }
  /// Takes `sql` back if it is the last that `before_next` was given and no statement took it along.
  bool take_back(std::string_view sql);
  /// Whether `put` waits for its answer, or leaves it to the next statement.
  void hold_puts(bool hold) { hold_ = hold; }
  /// The error of a statement that travelled with another one, which failed for it. The transaction is of no more use.
  const std::optional<Error>& stray_failure() const { return stray_; }

  /// Sends a statement and does not wait: the next one reads its answer and does not mind it.
  void send_off(std::string_view sql);

  /// The session is gone: every statement fails as `unavailable`, and this object is of no more use.
  bool lost() const { return lost_; }
  /// Whether the server has ended the session, as far as can be seen without asking it. Only between statements.
  bool ended_meanwhile();
  /// The first error since `forget_failure`. Until then every statement fails with it: PostgreSQL takes no more of them
  /// before a rollback.
  const std::optional<Error>& failure() const { return failure_; }
  void forget_failure() {
    failure_.reset();
    stray_.reset();
  }
  /// How many statements were answered.
  std::uint64_t answered() const { return answered_; }
  int process() const;  ///< of the server, for this session

 private:
  /// What travels together: ends with a synchronisation point.
  struct Group {
    std::size_t statements = 0;
    std::size_t others = 0;                   ///< before those of the statement that is waited for
    std::vector<std::string> preparing = {};  ///< keys of the statements that it makes
  };
  explicit PostgresConnection(pg_conn* handle) : connection_(handle) {}
  Error lose();
  struct Values;
  bool send(std::string_view sql, const Values& values, Group& group);
  bool send_first();
  Result<std::int64_t> run(std::string_view sql, const Values& values, const std::function<void(const Row&)>& each);
  /// Waits for the next result; null at the end of a statement's.
  Result<pg_result*> next_result();
  Result<void> skip_group();
  Result<std::int64_t> read_group(const Group& group, const std::function<void(const Row&)>& each);

  pg_conn* connection_;
  std::vector<std::string> first_;
  Group group_;                                              ///< what was sent already of the next one
  std::size_t unread_ = 0;                                   ///< groups that were sent off
  std::unordered_map<std::string, std::string> statements_;  ///< by parameter types and SQL: its name in the session
  std::uint64_t last_name_ = 0;
  std::uint64_t answered_ = 0;
  std::optional<Error> failure_;
  std::optional<Error> stray_;
  bool hold_ = false;
  bool lost_ = false;
};

}  // namespace lathe::db
