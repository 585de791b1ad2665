#include "jobs/expressions.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"

namespace lathe::jobs {
namespace {

std::vector<std::string> keys_of(const std::map<std::string, std::string>& map) {
  std::vector<std::string> out;
  for (const auto& [key, value] : map) out.push_back(key);
  return out;
}

/// The value of what stands between `${{` and `}}`.
Result<std::string> value_of(std::string_view expression, const Bindings& bindings) {
  const auto inner = trim(expression);
  const auto dot = inner.find('.');
  const auto kind = inner.substr(0, dot);
  const std::string name(dot == std::string_view::npos ? "" : inner.substr(dot + 1));
  if (kind == "inputs" || kind == "outputs") {
    const auto& map = kind == "inputs" ? bindings.inputs : bindings.outputs;
    if (const auto found = map.find(name); found != map.end()) return found->second;
    return fail(Code::not_found, unknown_name(kind == "inputs" ? "input" : "output", name, keys_of(map)));
  }
  if (kind == "search_space" || kind == "parent")
    return fail(Code::invalid, fmt::format("${{{{{}}}}} belongs into a {}", inner, kind == "parent" ? "pipeline" : "sweep job"));
  return fail(Code::invalid, fmt::format("${{{{{}}}}} is not an expression: write ${{{{inputs.NAME}}}} or ${{{{outputs.NAME}}}}", inner));
}

Result<std::string> substitute_plain(std::string_view text, const Bindings& bindings) {
  std::string out;
  for (;;) {
    const auto begin = text.find("${{");
    out += text.substr(0, begin);
    if (begin == std::string_view::npos) return out;
    const auto end = text.find("}}", begin);
    if (end == std::string_view::npos) return fail(Code::invalid, "an expression ${{ has no }}");
    LATHE_TRY(const auto value, value_of(text.substr(begin + 3, end - begin - 3), bindings));
    out += value;
    text.remove_prefix(end + 2);
  }
}

}  // namespace

Result<std::string> substitute(std::string_view text, const Bindings& bindings) {
  const auto as_invalid = [](Error error) {
    error.code = Code::invalid;
    return fail(std::move(error));
  };
  std::string out;
  for (;;) {
    const auto begin = text.find("$[[");
    auto before = substitute_plain(text.substr(0, begin), bindings);
    if (!before) return as_invalid(before.error());
    out += *before;
    if (begin == std::string_view::npos) return out;
    const auto end = text.find("]]", begin);
    if (end == std::string_view::npos) return fail(Code::invalid, "an optional part $[[ has no ]]");
    auto inside = substitute_plain(text.substr(begin + 3, end - begin - 3), bindings);
    if (inside) out += *inside;
    else if (inside.error().code != Code::not_found) return as_invalid(inside.error());
    text.remove_prefix(end + 2);
  }
}

}  // namespace lathe::jobs
