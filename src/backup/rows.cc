#include "backup/rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

#include "base/text.h"

namespace lathe::backup {
namespace {

using Kind = db::TableColumn::Kind;

void append_text(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        out += c;
    }
  }
}

Result<std::string> unescaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i == text.size()) return fail(Code::invalid, "a text ends in a backslash");
    switch (text[i]) {
      case '\\':
        out += '\\';
        break;
      case 't':
        out += '\t';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      default:
        return fail(Code::invalid, "an unknown escape in a text");
    }
  }
  return out;
}

template <class T>
Result<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return fail(Code::invalid, "not a number");
  return value;
}

Result<db::Param> value_of(std::string_view text, Kind kind) {
  if (text == "\\N") return db::Param{db::Null{}};
  switch (kind) {
    case Kind::integer:
      return number<std::int64_t>(text).map([](std::int64_t value) { return db::Param{value}; });
    case Kind::real:
      return number<double>(text).map([](double value) { return db::Param{value}; });
    case Kind::text:
      return unescaped(text).map([](std::string value) { return db::Param{std::move(value)}; });
  }
  return fail(Code::internal, "an unknown kind of column");
}

std::string insert_of(const db::Table& table) {
  std::vector<std::string> names, places;
  for (const auto& column : table.columns) {
    names.push_back(column.name);
    places.push_back(fmt::format("${}", names.size()));
  }
  return fmt::format("INSERT INTO {} ({}) VALUES ({})", table.name, fmt::join(names, ", "), fmt::join(places, ", "));
}

}  // namespace

void append_row(std::string& out, const db::Row& row, const std::vector<db::TableColumn>& columns) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int at = static_cast<int>(i);
    if (i > 0) out += '\t';
    if (row.is_null(at))
      out += "\\N";
    else if (columns[i].kind == Kind::integer)
      fmt::format_to(std::back_inserter(out), "{}", row.integer(at));
    else if (columns[i].kind == Kind::real)
      fmt::format_to(std::back_inserter(out), "{}", row.real(at));
    else
      append_text(out, row.text_view(at));
  }
  out += '\n';
}

Result<std::int64_t> insert_rows(db::Connection& c, const db::Table& table, std::string_view text) {
  const auto sql = insert_of(table);
  std::int64_t line = 0;
  std::vector<db::Param> values;
  while (!text.empty()) {
    const auto end = text.find('\n');
    ++line;
    const auto where = [&] { return fmt::format("{}, line {}", table.name, line); };
    if (end == std::string_view::npos) return fail(Code::invalid, where() + ": it does not end");
    values.clear();
    std::string_view rest = text.substr(0, end);
    for (bool more = true; more;) {
      const auto tab = rest.find('\t');
      more = tab != std::string_view::npos;
      if (values.size() == table.columns.size()) return fail(Code::invalid, where() + ": too many values");
      auto value = value_of(rest.substr(0, tab), table.columns[values.size()].kind);
      rest.remove_prefix(more ? tab + 1 : rest.size());
      if (!value) return fail_in(where(), value.error());
      values.push_back(std::move(*value));
    }
    if (values.size() != table.columns.size()) return fail(Code::invalid, where() + ": too few values");
    LATHE_CHECK(c.run(sql, values));
    text.remove_prefix(end + 1);
  }
  return line;
}

}  // namespace lathe::backup
