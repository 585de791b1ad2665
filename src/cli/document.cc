#include "cli/document.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "cli/local_files.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_stdin() {
  std::string text;
  char buffer[65536];
  while (true) {
    const auto got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0) return fail(errno_error("cannot read standard input"));
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<Document> read_document(const std::string& file) {
  Document out;
  const bool from_stdin = file == "-";
  out.file = from_stdin ? "standard input" : file;
  std::error_code ignored;
  out.folder = from_stdin ? fs::current_path(ignored) : fs::absolute(file, ignored).parent_path();
  LATHE_TRY(const auto text, from_stdin ? read_stdin() : read_file(file));
  LATHE_TRY(out.yaml, json::parse_yaml(text, out.file));
  if (out.yaml.value.is_null()) out.yaml.value = json::Object{};
  if (!out.yaml.value.is_object())
    return fail(Code::invalid, fmt::format("{}:1:1: expected \"key: value\" lines, not {}", out.file,
                                           json::kind_name(out.yaml.value)));
  return out;
}

/// "blue=90", or several of them in one text, with whole numbers as numbers.
Result<json::Object> read_map(const Flag& flag, const std::vector<std::string>& values) {
  json::Object out;
  for (const auto& value : values) {
    auto pairs = split(value, ' ');
    const auto is_pair = [](auto pair) { return pair.find('=') != std::string_view::npos; };
    if (pairs.empty() || !std::all_of(pairs.begin(), pairs.end(), is_pair)) pairs = {value};
    for (const auto pair : pairs) {
      const auto equals = pair.find('=');
      if (equals == std::string_view::npos || equals == 0)
        return fail(Code::invalid, fmt::format("{} \"{}\": expected KEY=VALUE", flag.name, value));
      if (out.contains(boost::json::string_view(pair.data(), equals)))
        return fail(Code::invalid, fmt::format("{}: {} is given twice", flag.name, pair.substr(0, equals)));
      const auto text = pair.substr(equals + 1);
      const auto typed = json::plain_scalar(text);
      out[boost::json::string_view(pair.data(), equals)] =
          typed.is_int64() ? typed : json::Value(boost::json::string_view(text.data(), text.size()));
    }
  }
  return out;
}

Result<json::Value> flag_value(const Flag& flag, const Arguments& arguments) {
  const auto text = arguments.get_or(flag.name, "");
  switch (flag.takes) {
    case Takes::none:
      return json::Value(true);
    case Takes::scalar:
      return typed_value(text);
    case Takes::path:
      return json::Value(boost::json::string_view(from_working_folder(text)));
    case Takes::map:
      return read_map(flag, arguments.all(flag.name));
    case Takes::list: {
      json::Array out;
      for (const auto& item : arguments.all(flag.name)) out.push_back(json::Value(boost::json::string_view(item)));
      return json::Value(std::move(out));
    }
    case Takes::text:
      break;
  }
  return json::Value(boost::json::string_view(text));
}

}  // namespace

std::string Document::located(const std::string& message) const {
  const auto colon = message.find(": ");
  if (file.empty() || colon == std::string::npos || message.find(' ') < colon) return message;
  const auto* position = yaml.find(std::string_view(message).substr(0, colon));
  return position == nullptr ? message : fmt::format("{}:{}: {}", file, position->line, message);
}

Result<Document> build_document(const Verb& verb, const Arguments& arguments) {
  Document out;
  out.yaml.value = json::Object{};
  std::error_code ignored;
  out.folder = fs::current_path(ignored);
  if (const auto file = arguments.get("--file")) {
    LATHE_TRY(out, read_document(*file));
  }
  for (const auto* name : {"name", "version"})
    if (const auto value = arguments.get(std::string("--") + name)) out.fields()[name] = *value;
  for (const auto& flag : verb.flags) {
    if (flag.goes != Goes::field || !arguments.has(flag.name)) continue;
    LATHE_TRY(auto value, flag_value(flag, arguments));
    LATHE_CHECK(set_field(out.yaml.value, flag.target, std::move(value)));
  }
  for (const auto& expression : arguments.all("--set")) LATHE_CHECK(set_expression(out.yaml.value, expression));
  return out;
}

}  // namespace lathe::cli
