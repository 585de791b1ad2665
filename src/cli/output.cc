#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/set_path.h"
#include "json/yaml.h"

namespace lathe::cli {
namespace {

constexpr std::size_t kWidestCell = 60;

/// Decodes the UTF-8 sequence at `i` and moves past it; a broken byte stands for itself.
char32_t next_code_point(std::string_view text, std::size_t& i) {
  const auto byte = static_cast<unsigned char>(text[i++]);
  const int more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
  char32_t point = more == 3 ? byte & 0x07U : more == 2 ? byte & 0x0FU : more == 1 ? byte & 0x1FU : byte;
  for (int n = 0; n < more && i < text.size(); ++n)
    point = (point << 6) | (static_cast<unsigned char>(text[i++]) & 0x3FU);
  return point;
}

std::size_t width_of(char32_t point) {
  const bool joins = (point >= 0x0300 && point <= 0x036F) || (point >= 0x200B && point <= 0x200F) ||
                     (point >= 0xFE00 && point <= 0xFE0F) || (point >= 0x20D0 && point <= 0x20FF);
  if (joins) return 0;
  const bool wide = (point >= 0x1100 && point <= 0x115F) || (point >= 0x2E80 && point <= 0xA4CF) ||
                    (point >= 0xAC00 && point <= 0xD7A3) || (point >= 0xF900 && point <= 0xFAFF) ||
                    (point >= 0xFE30 && point <= 0xFE6F) || (point >= 0xFF00 && point <= 0xFF60) ||
                    (point >= 0xFFE0 && point <= 0xFFE6) || (point >= 0x1F300 && point <= 0x1FAFF) ||
                    (point >= 0x20000 && point <= 0x3FFFD);
  return wide ? 2 : 1;
}

/// A value in one line: text as it is, nothing for null, JSON for the rest. `rounded`: for people, six digits.
std::string cell(const json::Value* value, bool rounded = false) {
  if (value == nullptr || value->is_null()) return "";
  if (rounded && value->is_double()) return fmt::format("{:.6g}", value->get_double());
  std::string text = value->is_string() ? std::string(json::view(value->get_string())) : json::print(*value);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

std::string shortened(std::string text) {
  if (display_width(text) <= kWidestCell) return text;
  std::size_t width = 0;
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t after = i;
    width += width_of(next_code_point(text, after));
    if (width > kWidestCell - 1) break;
    i = after;
  }
  return text.substr(0, i) + "…";
}

using Rows = std::vector<std::vector<std::string>>;

std::string lay_out(const Rows& rows, bool with_rule) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  const auto put = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      line.append(widths[i] - display_width(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    put(rows[i]);
    if (i > 0 || !with_rule) continue;
    std::vector<std::string> rule;
    for (const auto width : widths) rule.emplace_back(width, '-');
    put(rule);
  }
  return out;
}

std::string table_of_list(const json::Array& list, const std::vector<Column>& columns) {
  std::vector<std::pair<std::string, std::string>> shown;  // title, path
  for (const auto& column : columns) shown.emplace_back(column.title, column.path);
  if (shown.empty()) {
    for (const auto& item : list) {
      if (!item.is_object()) continue;
      for (const auto& member : item.get_object()) {
        const std::string key(member.key());
        const bool known = std::any_of(shown.begin(), shown.end(), [&](const auto& one) { return one.first == key; });
        if (!known && !member.value().is_structured()) shown.emplace_back(key, key);
      }
    }
  }
  Rows rows(1);
  for (const auto& column : shown) rows[0].push_back(column.first);
  if (shown.empty()) rows[0].emplace_back("Result");
  for (const auto& item : list) {
    auto& row = rows.emplace_back();
    if (shown.empty() || !item.is_object()) {
      row.push_back(shortened(cell(&item, true)));
      continue;
    }
    for (const auto& column : shown) {
      const auto* plain = item.get_object().if_contains(column.second);  // keys may hold dots
      row.push_back(shortened(cell(plain != nullptr ? plain : find_field(item, column.second), true)));
    }
  }
  return list.empty() ? "" : lay_out(rows, true);
}

std::string table(const json::Value& result, const std::vector<Column>& columns) {
  if (const auto* list = result.if_array()) return table_of_list(*list, columns);
  const auto* object = result.if_object();
  if (object == nullptr) return result.is_null() ? "" : cell(&result) + "\n";
  Rows rows;
  for (const auto& member : *object)
    if (!member.value().is_null()) {
      auto text = cell(&member.value(), true);
      rows.push_back(
          {std::string(member.key()), member.value().is_structured() ? shortened(std::move(text)) : std::move(text)});
    }
  return lay_out(rows, false);
}

std::string tsv_row(const json::Value& item) {
  std::vector<std::string> cells;
  if (const auto* object = item.if_object()) {
    for (const auto& member : *object) cells.push_back(cell(&member.value()));
  } else if (const auto* list = item.if_array()) {
    for (const auto& value : *list) cells.push_back(cell(&value));
  } else {
    return cell(&item);
  }
  return fmt::format("{}", fmt::join(cells, "\t"));
}

std::string tsv(const json::Value& result) {
  if (result.is_null()) return "";
  if (result.is_string()) return std::string(json::view(result.get_string())) + "\n";
  const auto* list = result.if_array();
  if (list == nullptr) return tsv_row(result) + "\n";
  std::string out;
  for (const auto& item : *list) out += tsv_row(item) + "\n";
  return out;
}

}  // namespace

Result<void> check_format(const std::string& format) {
  static const std::vector<std::string> kFormats{"json", "jsonc", "table", "tsv", "yaml", "yamlc", "none"};
  if (std::find(kFormats.begin(), kFormats.end(), format) != kFormats.end()) return {};
  return fail(Code::invalid, fmt::format("--output {}: expected one of {}", format, fmt::join(kFormats, ", ")));
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) width += width_of(next_code_point(text, i));
  return width;
}

std::string render(const json::Value& result, const std::string& format, const std::vector<Column>& columns) {
  if (format == "none") return "";
  if (format == "table") return table(result, columns);
  if (format == "tsv") return tsv(result);
  if (format == "yaml" || format == "yamlc") return json::to_yaml(result);
  return json::pretty(result) + "\n";
}

}  // namespace lathe::cli
