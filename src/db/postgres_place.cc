#include "db/postgres_place.h"

#include <libpq-fe.h>

#include <memory>

namespace lathe::db {
namespace {

struct Free {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

/// What the URI itself says; null for one that libpq cannot read, whose error would quote the password.
std::unique_ptr<PQconninfoOption, Free> parsed(const std::string& store) {
  char* error = nullptr;
  std::unique_ptr<PQconninfoOption, Free> options(PQconninfoParse(store.c_str(), &error));
  PQfreemem(error);
  return options;
}

std::string value_of(const PQconninfoOption* options, std::string_view name) {
  for (const auto* option = options; option->keyword != nullptr; ++option)
    if (option->keyword == name && option->val != nullptr) return option->val;
  return {};
}

}  // namespace

bool is_readable_place(const std::string& store) {
  const auto options = parsed(store);
  if (!options) return false;
  // A special character that is not percent-encoded moves a part of the password into one of these.
  const auto all =
      value_of(options.get(), "host") + value_of(options.get(), "hostaddr") + value_of(options.get(), "dbname");
  return all.find_first_of("@ ") == std::string::npos &&
         value_of(options.get(), "port").find_first_not_of("0123456789,") == std::string::npos;
}

bool is_postgres(std::string_view store) {
  return store.starts_with("postgresql://") || store.starts_with("postgres://");
}

std::string shown_place(const std::string& store) {
  if (!is_postgres(store)) return store;
  if (!is_readable_place(store)) return "postgresql://...";
  const auto options = parsed(store);
  auto host = value_of(options.get(), "host");
  if (host.empty()) host = value_of(options.get(), "hostaddr");
  const auto user = value_of(options.get(), "user");
  const auto port = value_of(options.get(), "port");
  const auto name = value_of(options.get(), "dbname");
  const bool folder = host.starts_with('/');
  return "postgresql://" + (user.empty() ? "" : user + "@") + (folder ? "" : host) + (port.empty() ? "" : ":" + port) +
         "/" + name + (folder ? "?host=" + host : "");
}

bool has_password(const std::string& store) {
  const auto options = is_postgres(store) ? parsed(store) : nullptr;
  return options && !value_of(options.get(), "password").empty();
}

}  // namespace lathe::db
