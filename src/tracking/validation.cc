#include "tracking/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <vector>

#include "base/text.h"
#include "json/json.h"

namespace lathe::tracking {
namespace {

bool is_word(unsigned char c) {
  return std::isalnum(c) != 0 || c == '_' || c >= 0x80;
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xC2 && lead < 0xE0 ? 2
                               : (lead & 0xF0) == 0xE0       ? 3
                               : lead >= 0xF0 && lead < 0xF5 ? 4
                                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k)
      if (!is_continuation(text[i + k])) return false;
    i += length;
  }
  return true;
}

/// MLflow's text for a value that is none.
Error invalid_value(std::string_view path, std::string_view value, std::string_view why) {
  const json::Value quoted(boost::json::string_view(value.data(), value.size()));
  return {Code::invalid,
          fmt::format("Invalid value {} for parameter '{}' supplied{} {}", printable(json::print(quoted)), path,
                      why.empty() ? "." : ":", why),
          {}};
}

bool is_id(std::string_view text, std::size_t limit) {
  return !text.empty() && text.size() <= limit && std::isalnum(static_cast<unsigned char>(text[0])) != 0 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

}  // namespace

std::size_t count_characters(std::string_view utf8) {
  return utf8.size() - static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), is_continuation));
}

std::string_view first_characters(std::string_view utf8, std::size_t limit) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < utf8.size(); ++i)
    if (!is_continuation(utf8[i]) && seen++ == limit) return utf8.substr(0, i);
  return utf8;
}

std::string normal_path(std::string_view path) {
  if (path.empty()) return ".";
  const std::string_view root = path.starts_with("//") && !path.starts_with("///") ? "//"
                                : path.starts_with('/')                            ? "/"
                                                                                   : "";
  std::vector<std::string_view> kept;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == ".." && (!kept.empty() ? kept.back() != ".." : !root.empty())) {
      if (!kept.empty()) kept.pop_back();
      continue;
    }
    kept.push_back(part);
  }
  std::string out(root);
  for (std::size_t i = 0; i < kept.size(); ++i) out.append(i > 0 ? "/" : "").append(kept[i]);
  return out.empty() ? "." : out;
}

Result<void> check_key(std::string_view kind, std::string_view key, std::string_view list, std::size_t index) {
  LATHE_CHECK(check_text(kind, key));
  const std::string_view field = kind == "metric" ? "name" : "key";
  const auto path = [&] { return list.empty() ? std::string(field) : fmt::format("{}[{}].{}", list, index, field); };
  const auto start = first_characters(key, 300);
  const bool known = std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return is_word(c) || c == '-' || c == '.' || c == ' ' || c == ':' || c == '/';
  });
  if (!known)
    return fail(invalid_value(path(), start,
                              "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces "
                              "( ), colon(:) and slashes (/)."));
  const auto normal = normal_path(key);
  if (normal != key || normal == "." || normal.starts_with("..") || normal.starts_with("/"))
    return fail(invalid_value(path(), start,
                              fmt::format("Names may be treated as files in certain cases, and must not resolve to "
                                          "other names when treated as such. This name would resolve to '{}'",
                                          first_characters(normal, 300))));
  if (key.size() <= kKeyLimit) return {};
  return check_length(kind == "metric" ? "Metric name" : kind == "parameter" ? "Param key" : path(), key, kKeyLimit);
}

Result<void> check_length(std::string_view what, std::string_view value, std::size_t limit) {
  if (value.size() <= limit) return {};  // bytes are at least as many as characters
  if (count_characters(value) <= limit) return {};
  return fail(Code::invalid, fmt::format("'{}' exceeds the maximum length of {} characters", what, limit));
}

Result<void> check_text(std::string_view what, std::string_view value) {
  if (value.find('\0') != std::string_view::npos)
    return fail(Code::invalid, fmt::format("Invalid value for {}: it must not hold a NUL character", what));
  if (!is_utf8(value)) return fail(Code::invalid, fmt::format("Invalid value for {}: it is not UTF-8", what));
  return {};
}

Result<void> check_run_id(std::string_view run_id) {
  if (is_id(run_id, 256)) return {};
  return fail(invalid_value("run_id", first_characters(run_id, 300), ""));
}

Result<void> check_experiment_name(std::string_view name) {
  if (trim(name).empty()) return fail(Code::invalid, fmt::format("Invalid experiment name: '{}'", name));
  LATHE_CHECK(check_text("experiment name", name));
  return check_length("name", name, kExperimentNameLimit);
}

Result<std::int64_t> parse_experiment_id(std::string_view text) {
  if (!is_id(text, 64))
    return fail(Code::invalid, fmt::format("Invalid experiment ID: '{}'", printable(text.substr(0, 300))));
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool canonical = text == "0" || text[0] != '0';
  if (error != std::errc{} || end != text.data() + text.size() || !canonical)
    return fail(Code::not_found, fmt::format("No Experiment with id={} exists", text));
  return id;
}

}  // namespace lathe::tracking
