#include "db/postgres.h"

#include <endian.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "db/dialect.h"
#include "db/postgres_place.h"

namespace lathe::db {
namespace {

constexpr int kAnswerWithinMs =
    60'000;  ///< else the session counts as lost; PostgreSQL itself gives up a little before
constexpr std::size_t kMostStatements = 512;
constexpr std::string_view kForgetAll = "DEALLOCATE ALL";
constexpr std::size_t kLongestKept = 8192;  ///< longer SQL is a search of a shape that will not come again

// The types that we send and read, by their numbers in PostgreSQL's catalogue.
constexpr Oid kBool = 16, kInt8 = 20, kInt2 = 21, kInt4 = 23, kText = 25, kFloat4 = 700, kFloat8 = 701, kVarchar = 1043,
              kName = 19;
constexpr Oid kInt8s = 1016, kTexts = 1009, kFloat8s = 1022;

template <class T>
T big_endian(T value) {
  if constexpr (sizeof(T) == 2)
    return static_cast<T>(htobe16(value));
  else if constexpr (sizeof(T) == 4)
    return static_cast<T>(htobe32(value));
  else
    return static_cast<T>(htobe64(value));
}

template <class T>
void append(std::string& out, T value) {
  value = big_endian(value);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T read(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return big_endian(value);
}

template <class Items>
std::string array_of(Oid type, const Items& items) {
  std::string out;
  append(out, std::uint32_t{items.empty() ? 0u : 1u});  // dimensions
  append(out, std::uint32_t{0});                        // no NULLs
  append(out, std::uint32_t{type});
  if (!items.empty()) {
    append(out, static_cast<std::uint32_t>(items.size()));
    append(out, std::uint32_t{1});  // counted from
  }
  for (const auto& item : items) {
    if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string_view>) {
      append(out, static_cast<std::uint32_t>(item.size()));
      out.append(item);
    } else {
      append(out, std::uint32_t{8});
      append(out, std::bit_cast<std::uint64_t>(item));
    }
  }
  return out;
}

class PostgresRow final : public Row {
 public:
  explicit PostgresRow(const PGresult* result) : result_(result) {}
  void go_to(int row) { row_ = row; }

  bool is_null(int column) const override { return PQgetisnull(result_, row_, column) != 0; }
  std::int64_t integer(int column) const override {
    if (is_null(column)) return 0;
    const char* bytes = PQgetvalue(result_, row_, column);
    switch (PQftype(result_, column)) {
      case kInt8:
        return static_cast<std::int64_t>(read<std::uint64_t>(bytes));
      case kInt4:
        return static_cast<std::int32_t>(read<std::uint32_t>(bytes));
      case kInt2:
        return static_cast<std::int16_t>(read<std::uint16_t>(bytes));
      case kBool:
        return *bytes != 0 ? 1 : 0;
      case kFloat8:
      case kFloat4:
        return static_cast<std::int64_t>(real(column));
      default:
        return std::strtoll(text(column).c_str(), nullptr, 10);
    }
  }
  double real(int column) const override {
    if (is_null(column)) return 0;
    const char* bytes = PQgetvalue(result_, row_, column);
    switch (PQftype(result_, column)) {
      case kFloat8:
        return std::bit_cast<double>(read<std::uint64_t>(bytes));
      case kFloat4:
        return std::bit_cast<float>(read<std::uint32_t>(bytes));
      default:
        return static_cast<double>(integer(column));
    }
  }
  std::string text(int column) const override {
    switch (PQftype(result_, column)) {
      case kInt8:
      case kInt4:
      case kInt2:
        return is_null(column) ? std::string{} : std::to_string(integer(column));
      default:
        return std::string(text_view(column));
    }
  }
  std::string_view text_view(int column) const override {
    return {PQgetvalue(result_, row_, column), static_cast<std::size_t>(PQgetlength(result_, row_, column))};
  }

 private:
  const PGresult* result_;
  int row_ = 0;
};

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, Clear>;

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? std::string{} : std::string(text);
}

}  // namespace

/// Parameters as PostgreSQL's binary format has them.
struct PostgresConnection::Values {
  std::string types_key;  ///< a letter for each
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;

  explicit Values(std::size_t count) {
    kept_.reserve(count);
    types_key.reserve(count);
    for (auto* list : {&lengths, &formats}) list->reserve(count);
    types.reserve(count);
    values.reserve(count);
  }

  void add(Null) { put('n', 0, nullptr, 0); }
  void add(std::int64_t value) { keep('i', kInt8, eight(static_cast<std::uint64_t>(value))); }
  void add(double value) { keep('d', kFloat8, eight(std::bit_cast<std::uint64_t>(value))); }
  void add(std::string_view text) { put('t', kText, text.empty() ? "" : text.data(), text.size()); }
  void add(Integers items) { keep('I', kInt8s, array_of(kInt8, items)); }
  void add(std::span<const double> items) { keep('D', kFloat8s, array_of(kFloat8, items)); }
  void add(Texts items) { keep('T', kTexts, array_of(kText, items)); }

 private:
  static std::string eight(std::uint64_t bits) {
    std::string out;
    append(out, bits);
    return out;
  }
  void keep(char key, Oid type, std::string bytes) {
    kept_.push_back(std::move(bytes));
    put(key, type, kept_.back().data(), kept_.back().size());
  }
  void put(char key, Oid type, const char* bytes, std::size_t size) {
    types_key.push_back(key);
    types.push_back(type);
    values.push_back(bytes);
    lengths.push_back(static_cast<int>(size));
    formats.push_back(1);
  }
  std::vector<std::string> kept_;
};

Result<std::unique_ptr<PostgresConnection>> PostgresConnection::open(const std::string& uri) {
  // What the URI says itself wins, but for the encoding. A peer that is gone without a word is noticed in 25 seconds.
  static constexpr const char* kNames[] = {"fallback_application_name",
                                           "connect_timeout",
                                           "keepalives_idle",
                                           "keepalives_interval",
                                           "keepalives_count",
                                           "tcp_user_timeout",
                                           "dbname",
                                           "client_encoding",
                                           nullptr};
  const char* const values[] = {"lathe", "3", "10", "5", "3", "25000", uri.c_str(), "UTF8", nullptr};
  auto* handle = PQconnectdbParams(kNames, values, 1);
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(handle));
  if (PQstatus(handle) != CONNECTION_OK) {
    std::string why = PQerrorMessage(handle);
    why.resize(why.find_last_not_of(" \n") + 1);
    std::replace(why.begin(), why.end(), '\n', ' ');
    const auto place = shown_place(uri);
    if (PQconnectionNeedsPassword(handle) != 0)
      return fail(Code::invalid,
                  "PostgreSQL at " + place + " wants a password: put it into PGPASSWORD, or into ~/.pgpass (mode 600)");
    // Over there a server said no, or is just starting.
    const bool refused = why.find("FATAL:") != std::string::npos && why.find("starting up") == std::string::npos &&
                         why.find("shutting down") == std::string::npos &&
                         why.find("recovery mode") == std::string::npos && why.find("too many") == std::string::npos &&
                         why.find("remaining connection slots") == std::string::npos;
    return fail(refused ? Code::invalid : Code::unavailable, "PostgreSQL at " + place + " cannot be reached: " + why);
  }
  PQsetNoticeProcessor(
      handle, [](void*, const char*) {}, nullptr);
  if (PQserverVersion(handle) < 130000)
    return fail(Code::invalid,
                "PostgreSQL at " + shown_place(uri) + " is too old: 13 is the oldest that Lathe runs with");
  if (const char* encoding = PQparameterStatus(handle, "server_encoding");
      encoding == nullptr || std::string_view(encoding) != "UTF8")
    return fail(Code::invalid, "the database " + shown_place(uri) +
                                   " is not in UTF-8: make one with `createdb --encoding UTF8 --template template0`");
  if (PQenterPipelineMode(handle) == 0) return fail(Code::internal, PQerrorMessage(handle));
  return connection;
}

PostgresConnection::~PostgresConnection() {
  PQfinish(connection_);
}

int PostgresConnection::process() const {
  return PQbackendPID(connection_);
}

Error PostgresConnection::lose() {
  lost_ = true;
  failure_ = Error{Code::unavailable, "the connection to PostgreSQL was lost: try again in a moment", {}};
  return *failure_;
}

bool PostgresConnection::take_back(std::string_view sql) {
  if (first_.empty() || first_.back() != sql) return false;
  first_.pop_back();
  return true;
}

bool PostgresConnection::ended_meanwhile() {
  if (lost_) return true;
  if (PQconsumeInput(connection_) == 0 || PQstatus(connection_) != CONNECTION_OK) lose();
  return lost_;
}

/// False: libpq could not send it.
bool PostgresConnection::send(std::string_view sql, const Values& values, Group& group) {
  const auto count = static_cast<int>(values.values.size());
  if (sql.size() > kLongestKept || sql == kForgetAll) {
    ++group.statements;
    return PQsendQueryParams(connection_, std::string(sql).c_str(), count, values.types.data(), values.values.data(),
                             values.lengths.data(), values.formats.data(), 1) != 0;
  }
  auto key = values.types_key + ' ' + std::string(sql);
  auto found = statements_.find(key);
  if (found == statements_.end()) {
    const auto name = "s" + std::to_string(++last_name_);
    if (PQsendPrepare(connection_, name.c_str(), std::string(sql).c_str(), count, values.types.data()) == 0)
      return false;
    ++group.statements;
    group.preparing.push_back(key);
    found = statements_.emplace(std::move(key), name).first;
  }
  ++group.statements;
  return PQsendQueryPrepared(connection_, found->second.c_str(), count, values.values.data(), values.lengths.data(),
                             values.formats.data(), 1) != 0;
}

Result<pg_result*> PostgresConnection::next_result() {
  while (PQisBusy(connection_) != 0) {
    pollfd waiting{PQsocket(connection_), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, kAnswerWithinMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || PQconsumeInput(connection_) == 0) return fail(lose());
  }
  auto* result = PQgetResult(connection_);
  if (PQstatus(connection_) == CONNECTION_OK) return result;
  PQclear(result);
  return fail(lose());
}

Result<void> PostgresConnection::skip_group() {
  for (;;) {
    LATHE_TRY(auto* raw, next_result());
    const ResultPtr result(raw);
    if (result && PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) return {};
  }
}

Result<std::int64_t> PostgresConnection::read_group(const Group& group, const std::function<void(const Row&)>& each) {
  std::size_t statement = 1;
  std::size_t failed = 0;
  std::int64_t changed = 0;
  std::optional<Error> error;
  std::exception_ptr thrown;
  for (;;) {
    LATHE_TRY(auto* raw, next_result());
    const ResultPtr result(raw);
    if (!result) {
      ++statement;
      continue;
    }
    switch (PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
        if (statement == group.statements && each) {
          PostgresRow row(result.get());
          try {
            for (int i = 0; i < PQntuples(result.get()); ++i) {
              row.go_to(i);
              each(row);
            }
          } catch (...) {
            thrown = std::current_exception();  // what is still to come has to be read first
          }
        }
        [[fallthrough]];
      case PGRES_COMMAND_OK:
        changed = std::strtoll(PQcmdTuples(result.get()), nullptr, 10);
        break;
      case PGRES_PIPELINE_SYNC:
        ++answered_;
        if (thrown) std::rethrow_exception(thrown);
        if (!error) return changed;
        // Whether a statement was made before the error is not known: those of this group are made anew.
        for (const auto& key : group.preparing) statements_.erase(key);
        failure_ = error;
        if (failed <= group.others) stray_ = error;
        return fail(std::move(*error));
      case PGRES_PIPELINE_ABORTED:
        break;
      default:
        if (!error) failed = statement;
        if (!error)
          error = dialect::postgres_error(field(result.get(), PG_DIAG_SQLSTATE),
                                          field(result.get(), PG_DIAG_MESSAGE_PRIMARY));
        if (const auto severity = field(result.get(), PG_DIAG_SEVERITY_NONLOCALIZED);
            severity == "FATAL" || severity == "PANIC")
          return fail(lose());
    }
  }
}

Result<std::int64_t> PostgresConnection::run(std::string_view sql, const Values& values,
                                             const std::function<void(const Row&)>& each) {
  if (failure_) return fail(*failure_);
  bool sent = send_first();
  group_.others = group_.statements;
  sent = sent && send(sql, values, group_);
  const auto group = std::exchange(group_, {});
  const std::string why = sent ? "" : PQerrorMessage(connection_);
  if (PQpipelineSync(connection_) == 0) return fail(lose());
  for (; unread_ > 0; --unread_) LATHE_CHECK(skip_group());
  if (!sent) {
    LATHE_CHECK(skip_group());
    failure_ = stray_ = Error{Code::internal, "a statement could not be sent: " + why, {}};
    return fail(*failure_);
  }
  return read_group(group, each);
}

/// Sends what was kept for the next statement.
bool PostgresConnection::send_first() {
  if (statements_.size() >= kMostStatements) {
    statements_.clear();
    first_.emplace(first_.begin(), kForgetAll);
  }
  bool sent = true;
  for (const auto& before : std::exchange(first_, {})) sent = sent && send(before, Values(0), group_);
  return sent;
}

void PostgresConnection::send_off(std::string_view sql) {
  if (lost_) return;
  Group group;
  if (!send(sql, Values(0), group) || PQpipelineSync(connection_) == 0)
    lose();
  else
    ++unread_;
}

Result<std::int64_t> PostgresConnection::execute(std::string_view sql, std::span<const Argument> arguments,
                                                 const std::function<void(const Row&)>& each) {
  Values values(arguments.size());
  for (const auto& argument : arguments) std::visit([&](const auto& value) { values.add(value); }, argument);
  return run(sql, values, each);
}

Result<std::int64_t> PostgresConnection::insert(std::string_view into, std::size_t, std::span<const Column> columns,
                                                std::string_view otherwise) {
  Values values(columns.size());
  for (const auto& column : columns) std::visit([&](const auto& value) { values.add(value); }, column);
  return run(dialect::postgres_insert(into, columns, otherwise), values, {});
}

Result<void> PostgresConnection::put(std::string_view into, std::size_t rows, std::span<const Column> columns,
                                     std::string_view otherwise) {
  if (!hold_) return Connection::put(into, rows, columns, otherwise);
  if (failure_) return fail(*failure_);
  Values values(columns.size());
  for (const auto& column : columns) std::visit([&](const auto& value) { values.add(value); }, column);
  if (!send_first() || !send(dialect::postgres_insert(into, columns, otherwise), values, group_)) return fail(lose());
  return {};
}

Result<void> PostgresConnection::script(std::string_view sql) {
  for (; unread_ > 0; --unread_) LATHE_CHECK(skip_group());
  if (lost_ || PQexitPipelineMode(connection_) == 0) return fail(lose());  // pipelines take one statement at a time
  const ResultPtr result(PQexec(connection_, std::string(sql).c_str()));
  if (PQstatus(connection_) != CONNECTION_OK || PQenterPipelineMode(connection_) == 0) return fail(lose());
  const auto status = PQresultStatus(result.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) return {};
  return fail(
      dialect::postgres_error(field(result.get(), PG_DIAG_SQLSTATE), field(result.get(), PG_DIAG_MESSAGE_PRIMARY)));
}

}  // namespace lathe::db
