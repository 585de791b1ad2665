#include "assets/ignore.h"

#include <fnmatch.h>

#include <algorithm>
#include <span>

#include "base/file.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

bool match(std::span<const std::string> pattern, std::span<const std::string> path) {
  if (pattern.empty()) return path.empty();
  if (pattern.front() == "**") {
    if (pattern.size() == 1) return !path.empty();
    for (std::size_t skip = 0; skip <= path.size(); ++skip)
      if (match(pattern.subspan(1), path.subspan(skip))) return true;
    return false;
  }
  return !path.empty() && ::fnmatch(pattern.front().c_str(), path.front().c_str(), 0) == 0 &&
         match(pattern.subspan(1), path.subspan(1));
}

std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> out;
  for (const auto part : split(path, '/'))
    if (!part.empty()) out.emplace_back(part);
  return out;
}

/// Trailing spaces do not count, unless a backslash keeps them.
std::string_view without_trailing_space(std::string_view line) {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) {
    if (line.size() >= 2 && line[line.size() - 2] == '\\') break;
    line.remove_suffix(1);
  }
  return line;
}

}  // namespace

IgnoreRules::IgnoreRules() { add(".git\n__pycache__/\n"); }

Result<IgnoreRules> IgnoreRules::of_folder(const std::filesystem::path& folder) {
  IgnoreRules rules;
  for (const char* name : {".amlignore", ".gitignore"}) {
    auto text = read_file(folder / name, std::size_t{1} << 20);
    if (text) {
      rules.add(*text);
      return rules;
    }
    if (text.error().code != Code::not_found) return fail(text.error());
  }
  return rules;
}

void IgnoreRules::add(std::string_view text) {
  for (const auto line : split(text, '\n')) add_line(without_trailing_space(line));
}

void IgnoreRules::add_line(std::string_view line) {
  if (line.empty() || line.front() == '#') return;
  Rule rule;
  if (line.front() == '!') {
    rule.negated = true;
    line.remove_prefix(1);
  }
  if (line.ends_with('/')) {
    rule.folder_only = true;
    line.remove_suffix(1);
  }
  const bool anchored = line.find('/') != std::string_view::npos;
  rule.parts = segments(line);
  if (rule.parts.empty()) return;
  if (!anchored) rule.parts.insert(rule.parts.begin(), "**");
  // Runs of ** mean the same as one, and would make matching exponential.
  const auto same = [](const std::string& a, const std::string& b) { return a == "**" && b == "**"; };
  rule.parts.erase(std::unique(rule.parts.begin(), rule.parts.end(), same), rule.parts.end());
  rules_.push_back(std::move(rule));
}

bool IgnoreRules::ignored(std::string_view path, bool is_folder) const {
  const auto parts = segments(path);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule)
    if ((is_folder || !rule->folder_only) && match(rule->parts, parts)) return !rule->negated;
  return false;
}

}  // namespace lathe::assets
