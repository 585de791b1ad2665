#include "cli/cli.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include "base/version.h"
#include "cli/arguments.h"
#include "cli/exit_codes.h"
#include "cli/jmespath.h"
#include "cli/output.h"
#include "cli/session.h"

namespace lathe::cli {
namespace {

int print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 ? 0 : kExitFailed;
}

/// Flags of every verb may stand before the group: they are moved behind the verb.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::vector<std::string> early;
  std::size_t first = 0;
  while (first < words.size() && words[first].starts_with('-')) {
    const auto& word = words[first];
    early.push_back(word);
    ++first;
    for (const auto& flag : common_flags()) {
      const bool takes_value =
          flag.takes != Takes::none && (word == flag.name || (!flag.letter.empty() && word == flag.letter));
      if (takes_value && first < words.size()) early.push_back(words[first++]);
    }
  }
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(first));
  words.insert(words.end(), early.begin(), early.end());
  return words;
}

Result<int> run_verb(const Group& group, const Verb& verb, const std::vector<std::string>& words) {
  LATHE_TRY(auto arguments, parse_arguments(group, verb, words));
  for (const auto& flag : ignored_flags())
    if (arguments.has(flag.name)) Session::say(fmt::format("lathe: {} is ignored", flag.name));
  LATHE_CHECK(check_format(arguments.get_or("--output", "json")));
  if (const auto query = arguments.get("--query")) LATHE_CHECK(JmesPath::compile(*query));
  Session session(group, verb, std::move(arguments));
  return verb.run(session);
}

Result<int> dispatch(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "help" || (words[0].starts_with('-') && asks_for_help(words))) return print(help());
  if (words[0] == "--version" || words[0] == "version") return print(fmt::format("{}\n", version()));
  LATHE_TRY(const auto found, find_verb(words));
  if (found.verb == nullptr) {
    const auto text = help(*found.group);
    if (asks_for_help(words)) return print(text);
    std::fwrite(text.data(), 1, text.size(), stderr);
    return exit_code(Code::invalid);
  }
  if (asks_for_help(words)) return print(help(*found.group, *found.verb));
  const auto used = found.verb->name.empty() ? 1 : 2;
  return run_verb(*found.group, *found.verb, {words.begin() + used, words.end()});
}

}  // namespace

void print_help() {
  print(help());
}

int run(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto words = words_of(argc, argv);
  const auto code = dispatch(words);
  if (code) return *code;
  Session::say("lathe: " + code.error().message);
  return exit_code(code.error().code);
}

}  // namespace lathe::cli
