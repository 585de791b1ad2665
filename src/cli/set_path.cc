#include "cli/set_path.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "json/yaml.h"

namespace lathe::cli {
namespace {

/// The keys and indexes of "a.b[0].c"; brackets only hold indexes.
Result<std::vector<std::string>> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  std::string part;
  const auto broken = [&] {
    return fail(Code::invalid, fmt::format("\"{}\" is not a path such as limits.timeout or jobs[0].name", path));
  };
  bool after_bracket = false;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '\\' && i + 1 < path.size()) {
      part += path[++i];
    } else if (c == '.' || c == '[') {
      if (part.empty() && !after_bracket) return broken();
      if (!part.empty()) parts.push_back(std::exchange(part, {}));
      after_bracket = false;
      if (c == '.') continue;
      const auto close = path.find(']', i);
      if (close == std::string_view::npos || close == i + 1) return broken();
      parts.emplace_back(path.substr(i + 1, close - i - 1));
      i = close;
      after_bracket = true;
    } else {
      if (after_bracket) return broken();
      part += c;
    }
  }
  if (part.empty() && !after_bracket) return broken();
  if (!part.empty()) parts.push_back(std::move(part));
  return parts;
}

std::optional<std::size_t> index_of(std::string_view text) {
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return index;
}

}  // namespace

Result<void> set_field(json::Value& document, std::string_view path, json::Value value) {
  LATHE_TRY(const auto parts, parts_of(path));
  json::Value* at = &document;
  std::string walked;
  for (const auto& part : parts) {
    if (at->is_null()) *at = json::Object{};
    if (auto* list = at->if_array()) {
      const auto index = index_of(part);
      if (!index || *index > list->size())
        return fail(Code::invalid, fmt::format("{}: {} is not an index of {}, which has {} items", path, part,
                                               walked.empty() ? "the list" : walked, list->size()));
      if (*index == list->size()) list->push_back(nullptr);
      at = &(*list)[*index];
      walked += fmt::format("[{}]", part);
    } else if (auto* object = at->if_object()) {
      at = &(*object)[part];
      walked += (walked.empty() ? "" : ".") + part;
    } else {
      return fail(Code::invalid,
                  fmt::format("{}: {} is {}, which has no field \"{}\"", path, walked, json::kind_name(*at), part));
    }
  }
  *at = std::move(value);
  return {};
}

Result<json::Value> typed_value(std::string_view text) {
  if (!text.empty() && std::string_view("{[\"'").find(text[0]) != std::string_view::npos) {
    LATHE_TRY(auto document, json::parse_yaml(text, std::string(text)));
    return std::move(document.value);
  }
  return json::plain_scalar(text);
}

Result<void> set_expression(json::Value& document, std::string_view expression) {
  const auto equals = expression.find('=');
  if (equals == std::string_view::npos || equals == 0)
    return fail(Code::invalid, fmt::format("--set {}: expected FIELD=VALUE, such as limits.timeout=60", expression));
  auto value = typed_value(expression.substr(equals + 1));
  if (!value) return fail_in("--set", value.error());
  auto done = set_field(document, expression.substr(0, equals), std::move(*value));
  if (!done) return fail_in("--set", done.error());
  return {};
}

const json::Value* find_field(const json::Value& document, std::string_view path) {
  const auto parts = parts_of(path);
  if (!parts) return nullptr;
  const json::Value* at = &document;
  for (const auto& part : *parts) {
    if (const auto* object = at->if_object()) {
      at = object->if_contains(part);
    } else if (const auto* list = at->if_array()) {
      const auto index = index_of(part);
      at = index && *index < list->size() ? &(*list)[*index] : nullptr;
    } else {
      return nullptr;
    }
    if (at == nullptr) return nullptr;
  }
  return at;
}

}  // namespace lathe::cli
