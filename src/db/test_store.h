#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "base/ids.h"
#include "db/db.h"
#include "db/postgres.h"

namespace lathe::db {

enum class Kind : std::uint8_t { sqlite, postgres };
inline std::string kind_name(Kind kind) {
  return kind == Kind::sqlite ? "Sqlite" : "Postgres";
}

/// An empty store for one test: a file in a folder of its own, or a database of the server that LATHE_TEST_POSTGRES
/// names.
class TestStore {
 public:
  explicit TestStore(Kind kind) : kind_(kind) {
    std::filesystem::create_directories(folder);
    if (kind != Kind::postgres) return;
    if (auto made = server().script("CREATE DATABASE " + name_); !made) throw std::runtime_error(made.error().message);
  }
  ~TestStore() {
    std::filesystem::remove_all(folder);
    if (kind_ == Kind::postgres) (void)server().script("DROP DATABASE " + name_ + " WITH (FORCE)");
  }
  TestStore(const TestStore&) = delete;
  TestStore& operator=(const TestStore&) = delete;

  Result<std::unique_ptr<Database>> open(const std::vector<Migration>& steps = migrations()) const {
    if (kind_ == Kind::sqlite) return open_sqlite((folder / "lathe.db").string(), steps);
    return open_postgres(uri(), steps, [](const std::string&) {});
  }
  std::string uri() const {
    auto out = server_uri();
    return out.replace(out.find("/postgres?"), std::string("/postgres").size(), "/" + name_);
  }
  /// A session beside the store's own.
  std::unique_ptr<PostgresConnection> session() const { return std::move(PostgresConnection::open(uri()).value()); }

  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-store-test-" + random_hex(4));

 private:
  static std::string server_uri() {
    const char* uri = std::getenv("LATHE_TEST_POSTGRES");
    if (uri == nullptr)
      throw std::runtime_error("run this by ctest, or as `tests/postgres.sh with build/dev/bin/..._test`");
    return uri;
  }
  static PostgresConnection& server() {
    static const auto kServer = std::move(PostgresConnection::open(server_uri()).value());
    return *kServer;
  }

  Kind kind_;
  std::string name_ = "t_" + random_hex(6);
};

}  // namespace lathe::db
