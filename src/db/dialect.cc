#include "db/dialect.h"

#include <cctype>

namespace lathe::db::dialect {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// `text` with each whole word `word` replaced.
std::string replace_word(std::string_view text, std::string_view word, std::string_view with) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const bool here = text.substr(at, word.size()) == word && (at == 0 || !is_word(text[at - 1])) &&
                      (at + word.size() == text.size() || !is_word(text[at + word.size()]));
    out.append(here ? with : text.substr(at, 1));
    at += here ? word.size() : 1;
  }
  return out;
}

/// "bigint", and whether there is one value per row.
std::pair<std::string_view, bool> type_of(const Column& column) {
  struct {
    std::pair<std::string_view, bool> operator()(std::int64_t) const { return {"bigint", false}; }
    std::pair<std::string_view, bool> operator()(const Integers&) const { return {"bigint", true}; }
    std::pair<std::string_view, bool> operator()(const std::span<const double>&) const { return {"float8", true}; }
    std::pair<std::string_view, bool> operator()(const Texts&) const { return {"text", true}; }
  } visitor;
  return std::visit(visitor, column);
}

}  // namespace

std::string postgres_schema(std::string_view script) {
  return replace_word(replace_word(replace_word(script, " WITHOUT ROWID", ""), "INTEGER", "BIGINT"), "TEXT",
                      "TEXT COLLATE \"C\"");
}

std::string postgres_insert(std::string_view into, std::span<const Column> columns, std::string_view otherwise) {
  std::string select, arrays, names;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto [type, per_row] = type_of(columns[i]);
    const auto number = std::to_string(i + 1);
    if (i > 0) select += ", ";
    if (!per_row) {
      select.append("$").append(number).append("::").append(type);
      continue;
    }
    select.append("u.c").append(number);
    arrays.append(arrays.empty() ? "$" : ", $").append(number).append("::").append(type).append("[]");
    names.append(names.empty() ? "c" : ", c").append(number);
  }
  return std::string(into)
      .append(" SELECT ")
      .append(select)
      .append(" FROM unnest(")
      .append(arrays)
      .append(") AS u(")
      .append(names)
      .append(") ")
      .append(otherwise);
}

Error postgres_error(std::string_view state, const std::string& message) {
  const auto of_class = [&](std::string_view start) { return state.starts_with(start); };
  if (of_class("23") && state != "23502") return {Code::conflict, message, {}};
  if (state == "53100")
    return {Code::exhausted, "the disk that holds PostgreSQL's data is full: nothing of this write was kept", {}};
  if (of_class("53")) return {Code::unavailable, "PostgreSQL has no room for this now: " + message, {}};
  if (state == "22021" || state == "22P05") return {Code::invalid, "a text is not UTF-8, or holds a NUL character", {}};
  if (state == "22003") return {Code::invalid, "a number is too large", {}};
  if (state == "54000") return {Code::invalid, "a name is too long for PostgreSQL's index", {}};
  if (state == "25006")
    return {Code::unavailable, "PostgreSQL takes no writes now (is it a standby?): point --store at the primary", {}};
  // Its process is ending or was ended, is not ready yet, or it gave up a lock: trying again is the cure.
  if (of_class("57P") || of_class("40") || of_class("08") || of_class("55P03"))
    return {Code::unavailable, "PostgreSQL is away: " + message, {}};
  if (state == "57014") return {Code::timeout, "PostgreSQL gave up on this: " + message, {}};
  if (state == "42501") return {Code::internal, "PostgreSQL forbids it to this user: " + message, {}};
  return {Code::internal, "the store answered: " + message, {}};
}

std::string sqlite_statement(std::string_view sql) {
  static constexpr std::string_view kAny = "= ANY($";
  std::string out;
  for (auto at = sql.find(kAny); at != std::string_view::npos; at = sql.find(kAny)) {
    const auto end = sql.find(')', at);
    out.append(sql.substr(0, at)).append("IN (SELECT value FROM lathe_list(");
    out.append(sql.substr(at + kAny.size() - 1, end - at - kAny.size() + 1)).append("))");
    sql.remove_prefix(end + 1);
  }
  return replace_word(out.append(sql), "strpos", "instr");
}

}  // namespace lathe::db::dialect
