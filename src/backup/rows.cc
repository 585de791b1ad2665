#include "backup/rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
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

Result<std::vector<db::Param>> values_of(std::string_view line, const db::Table& table) {
  std::vector<db::Param> out;
  for (bool more = true; more;) {
    const auto tab = line.find('\t');
    more = tab != std::string_view::npos;
    if (out.size() == table.columns.size()) return fail(Code::invalid, "too many values");
    LATHE_TRY(auto value, value_of(line.substr(0, tab), table.columns[out.size()].kind));
    line.remove_prefix(more ? tab + 1 : line.size());
    out.push_back(std::move(value));
  }
  if (out.size() != table.columns.size()) return fail(Code::invalid, "too few values");
  return out;
}

std::string names_of(const db::Table& table) {
  std::vector<std::string> names;
  for (const auto& column : table.columns) names.push_back(column.name);
  return fmt::format("INSERT INTO {} ({})", table.name, fmt::join(names, ", "));
}

Result<void> insert_one(db::Connection& c, const db::Table& table, const std::vector<db::Param>& row) {
  std::vector<std::string> places;
  for (std::size_t i = 1; i <= row.size(); ++i) places.push_back(fmt::format("${}", i));
  LATHE_CHECK(c.run(fmt::format("{} VALUES ({})", names_of(table), fmt::join(places, ", ")), row));
  return {};
}

/// Rows without a NULL, by one statement.
class Slice {
 public:
  explicit Slice(const db::Table& table)
      : table_(table), whole_(table.columns.size()), real_(table.columns.size()), texts_(table.columns.size()) {}

  void add(std::vector<db::Param> row) { rows_.push_back(std::move(row)); }
  std::size_t size() const { return rows_.size(); }

  Result<void> insert(db::Connection& c) {
    if (rows_.empty()) return {};
    std::vector<db::Column> columns;
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      for (const auto& row : rows_) {
        if (const auto* number = std::get_if<std::int64_t>(&row[i])) whole_[i].push_back(*number);
        if (const auto* number = std::get_if<double>(&row[i])) real_[i].push_back(*number);
        if (const auto* text = std::get_if<std::string>(&row[i])) texts_[i].push_back(*text);
      }
      if (table_.columns[i].kind == Kind::integer) columns.emplace_back(db::Integers(whole_[i]));
      if (table_.columns[i].kind == Kind::real) columns.emplace_back(std::span<const double>(real_[i]));
      if (table_.columns[i].kind == Kind::text) columns.emplace_back(db::Texts(texts_[i]));
    }
    LATHE_CHECK(c.insert(names_of(table_), rows_.size(), columns, ""));
    rows_.clear();
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      whole_[i].clear();
      real_[i].clear();
      texts_[i].clear();
    }
    return {};
  }

 private:
  const db::Table& table_;
  std::vector<std::vector<db::Param>> rows_;
  std::vector<std::vector<std::int64_t>> whole_;
  std::vector<std::vector<double>> real_;
  std::vector<std::vector<std::string_view>> texts_;
};

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
  constexpr std::size_t kMost = 1000;
  const auto is_null = [](const db::Param& value) { return std::holds_alternative<db::Null>(value); };
  Slice slice(table);
  std::int64_t line = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    ++line;
    const auto where = fmt::format("{}, line {}", table.name, line);
    if (end == std::string_view::npos) return fail(Code::invalid, where + ": it does not end");
    auto row = values_of(text.substr(0, end), table);
    if (!row) return fail_in(where, row.error());
    text.remove_prefix(end + 1);
    if (std::any_of(row->begin(), row->end(), is_null))
      LATHE_CHECK(insert_one(c, table, *row));
    else
      slice.add(std::move(*row));
    if (slice.size() == kMost) LATHE_CHECK(slice.insert(c));
  }
  LATHE_CHECK(slice.insert(c));
  return line;
}

}  // namespace lathe::backup
