#pragma once

#include <string>
#include <string_view>

/// Where a store is: "" (SQLite in the data folder) or a libpq URI, postgresql://USER@HOST:PORT/DB.
namespace lathe::db {

bool is_postgres(std::string_view store);
/// Whether libpq can read the URI.
bool is_readable_place(const std::string& store);
/// The place without its password, for people: "postgresql://ann@db.example:5432/lathe".
std::string shown_place(const std::string& store);
/// Whether the URI itself holds a password.
bool has_password(const std::string& store);

}  // namespace lathe::db
