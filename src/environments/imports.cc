#include "environments/imports.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/text.h"

namespace lathe::environments {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// A logical line of Python: joined over brackets and backslashes, without comments and without what strings hold.
struct Line {
  int number = 0;
  std::size_t indent = 0;
  std::string text;
};

class Lines {
 public:
  explicit Lines(std::string_view source) : source_(source) {}

  /// False at the end.
  bool next(Line& out) {
    while (at_ < source_.size()) {
      out = {number_, 0, {}};
      read(out);
      const auto begin = out.text.find_first_not_of(" \t\f");
      if (begin == std::string::npos) continue;
      out.indent = begin;
      out.text = std::string(trim(out.text));
      return true;
    }
    return false;
  }

 private:
  void read(Line& out) {
    int depth = 0;
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c == '#') {
        while (at_ < source_.size() && source_[at_] != '\n') ++at_;
      } else if (c == '"' || c == '\'') {
        skip_string(c);
        out.text += "\"\"";
      } else if (c == '\\' && at_ + 1 < source_.size() && source_[at_ + 1] == '\n') {
        at_ += 2;
        ++number_;
        out.text += ' ';
      } else if (c == '\n') {
        ++at_;
        ++number_;
        if (depth <= 0) return;
        out.text += ' ';
      } else {
        if (c == '(' || c == '[' || c == '{') ++depth;
        if (c == ')' || c == ']' || c == '}') --depth;
        if (c != '\r') out.text += c;
        ++at_;
      }
    }
  }

  void skip_string(char quote) {
    const bool three = source_.substr(at_, 3) == std::string(3, quote);
    at_ += three ? 3 : 1;
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c == '\n') {
        if (!three) return;  // an error of syntax: the line ends here
        ++number_;
      }
      if (c == '\\' && at_ + 1 < source_.size()) {
        if (source_[at_ + 1] == '\n') ++number_;
        at_ += 2;
        continue;
      }
      if (c == quote && (!three || source_.substr(at_, 3) == std::string(3, quote))) {
        at_ += three ? 3 : 1;
        return;
      }
      ++at_;
    }
  }

  std::string_view source_;
  std::size_t at_ = 0;
  int number_ = 1;
};

/// "a.b" at the beginning of `text`.
std::string dotted(std::string_view text) {
  text = trim(text);
  std::size_t size = 0;
  while (size < text.size() && (is_word(text[size]) || text[size] == '.')) ++size;
  return std::string(text.substr(0, size));
}

void take_statement(std::string_view statement, int line, std::vector<Import>& out) {
  const auto starts = [&](std::string_view word) {
    return statement.starts_with(word) && statement.size() > word.size() &&
           std::isspace(static_cast<unsigned char>(statement[word.size()])) != 0;
  };
  if (starts("from")) {
    auto module = dotted(statement.substr(4));
    if (!module.empty() && module.front() != '.') out.push_back({std::move(module), line});
  } else if (starts("import")) {
    for (const auto part : split(statement.substr(6), ','))
      if (auto module = dotted(part); !module.empty()) out.push_back({std::move(module), line});
  }
}

/// Python files that `command` runs, by their paths in the code.
std::vector<std::string> scripts_of(const std::string& command, const CodeFolder& code) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : command + " ") {
    if (std::isspace(static_cast<unsigned char>(c)) == 0 &&
        std::string_view("'\";&|()").find(c) == std::string_view::npos)
      word += c;
    else if (!word.empty())
      words.push_back(std::exchange(word, {}));
  }
  std::vector<std::string> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    auto path = words[i];
    if (path.starts_with("./")) path.erase(0, 2);
    if (path.ends_with(".py") && code.files.contains(path)) out.push_back(path);
    if (words[i] != "-m" || i + 1 == words.size()) continue;
    auto module = words[i + 1];
    std::replace(module.begin(), module.end(), '.', '/');
    for (const auto& candidate : {module + ".py", module + "/__main__.py"})
      if (code.files.contains(candidate)) out.push_back(candidate);
  }
  return out;
}

/// All names that the code itself may provide: its files' and its folders'.
std::set<std::string> own_modules(const CodeFolder& code) {
  std::set<std::string> out;
  for (const auto& file : code.files) {
    const auto parts = split(file, '/');
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) out.emplace(parts[i]);
    if (!parts.empty()) out.emplace(parts.back().substr(0, parts.back().find('.')));
  }
  return out;
}

}  // namespace

std::vector<Import> imports_of(std::string_view source) {
  std::vector<Import> out;
  Lines lines(source);
  Line line;
  bool in_main = false;
  while (lines.next(line)) {
    if (line.indent == 0) {
      const auto header = trim(std::string_view(line.text).substr(0, line.text.find(':')));
      in_main = header.starts_with("if ") && header.find("__name__") != std::string_view::npos;
    }
    if (line.indent != 0 && !in_main) continue;
    for (const auto statement : split(line.text, ';')) take_statement(trim(statement), line.number, out);
    // Under the main condition only its own statements are certain: a deeper block ends the certainty.
    if (in_main && line.indent != 0 && line.text.ends_with(':')) in_main = false;
  }
  return out;
}

std::vector<Needed> needs_of(const std::string& command, const CodeFolder& code) {
  for (const char* own_way : {"pip install", "pip3 install", "activate", "PYTHONPATH", "conda "})
    if (command.find(own_way) != std::string::npos) return {};
  const auto own = own_modules(code);
  std::vector<Needed> out;
  std::set<std::string> seen;
  std::set<std::string> named;
  auto waiting = scripts_of(command, code);
  while (!waiting.empty()) {
    const auto file = waiting.back();
    waiting.pop_back();
    if (!seen.insert(file).second) continue;
    const auto text = code.read(file);
    if (!text) continue;
    const auto folder = file.find('/') == std::string::npos ? "" : file.substr(0, file.rfind('/') + 1);
    for (const auto& import : imports_of(*text)) {
      const auto module = import.module.substr(0, import.module.find('.'));
      if (!own.contains(module)) {
        if (named.insert(module).second) out.push_back({module, fmt::format("{}:{}", file, import.line)});
        continue;
      }
      auto path = import.module;
      std::replace(path.begin(), path.end(), '.', '/');
      for (const auto& base : {folder, std::string{}})
        for (const auto& candidate :
             {base + path + ".py", base + path + "/__init__.py", base + module + "/__init__.py"})
          if (code.files.contains(candidate)) waiting.push_back(candidate);
    }
  }
  return out;
}

std::string missing_of(const std::vector<Needed>& needs, const Modules& modules) {
  std::string out;
  for (const auto& need : needs) {
    // Every job finds these two: python/lathe, and its subset of MLflow.
    if (need.module == "lathe" || need.module == "mlflow" || modules.has(need.module)) continue;
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", need.module, need.where);
  }
  return out;
}

}  // namespace lathe::environments
