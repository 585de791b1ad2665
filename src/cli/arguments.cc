#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "base/text.h"

namespace lathe::cli {
namespace {

bool takes_many(const Flag& flag) {
  return flag.takes == Takes::map || flag.takes == Takes::list;
}

/// The flag as CLI11 names it: "-e,--endpoint-name".
std::string cli11_name(const Flag& flag, bool letter_taken) {
  return flag.letter.empty() || letter_taken ? std::string(flag.name) : fmt::format("{},{}", flag.letter, flag.name);
}

Error unknown_flag(const Verb& verb, const Group& group, std::string_view word) {
  std::vector<std::string> known;
  for (const auto* list : {&verb.flags, &common_flags()})
    for (const auto& flag : *list) known.emplace_back(flag.name);
  const auto near = nearest(word.substr(0, word.find('=')), known, 2);
  return {Code::invalid,
          fmt::format("`lathe {} {}` has no flag {}; the nearest are {} (see `lathe {} {} --help`)", group.name,
                      verb.name, word, fmt::join(near, " and "), group.name, verb.name),
          {}};
}

}  // namespace

std::optional<std::string> Arguments::get(std::string_view flag) const {
  const auto found = values_.find(flag);
  if (found == values_.end() || found->second.empty()) return std::nullopt;
  return found->second.back();
}

std::vector<std::string> Arguments::all(std::string_view flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

Result<Arguments> parse_arguments(const Group& group, const Verb& verb, const std::vector<std::string>& words) {
  CLI::App app;
  app.set_help_flag("");
  app.allow_extras();
  Arguments out;
  std::set<std::string_view> names;  // a verb's own flag and letter win over those of every verb
  for (const auto* list : {&verb.flags, &common_flags(), &ignored_flags()}) {
    for (const auto& flag : *list) {
      if (!names.insert(flag.name).second) continue;
      const bool letter_taken = !flag.letter.empty() && !names.insert(flag.letter).second;
      const auto name = flag.name;
      if (flag.takes == Takes::none) {
        app.add_flag_callback(cli11_name(flag, letter_taken), [&out, name] { out.add(name, "true"); });
      } else if (takes_many(flag)) {
        app.add_option_function<std::vector<std::string>>(cli11_name(flag, letter_taken),
                                                          [&out, name](const auto& values) {
                                                            for (const auto& value : values) out.add(name, value);
                                                          });
      } else {
        app.add_option_function<std::string>(cli11_name(flag, letter_taken),
                                             [&out, name](const std::string& value) { out.add(name, value); })
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      }
    }
  }
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    return fail(Code::invalid, fmt::format("{} (see `lathe {} {} --help`)", error.what(), group.name, verb.name));
  }
  for (const auto& extra : app.remaining()) {
    if (extra.starts_with('-') && extra != "-") return fail(unknown_flag(verb, group, extra));
    if (verb.positional.empty() || out.has(verb.positional))
      return fail(Code::invalid,
                  fmt::format("\"{}\" is not expected here (see `lathe {} {} --help`)", extra, group.name, verb.name));
    out.add(verb.positional, extra);
  }
  return out;
}

Result<Found> find_verb(const std::vector<std::string>& words) {
  Found found;
  std::vector<std::string> names{"serve", "stop", "config"};
  for (const auto& group : groups()) {
    names.emplace_back(group.name);
    if (!words.empty() && words[0] == group.name) found.group = &group;
  }
  if (words.empty()) return found;
  if (found.group == nullptr)
    return fail(Code::invalid, fmt::format("no group \"{}\"; the nearest are {} (see `lathe --help`)", words[0],
                                           fmt::join(nearest(words[0], names), ", ")));
  if (found.group->verbs.size() == 1 && found.group->verbs[0].name.empty()) {
    found.verb = &found.group->verbs[0];
    return found;
  }
  if (words.size() < 2 || words[1].starts_with('-')) return found;
  names.clear();
  for (const auto& verb : found.group->verbs) {
    names.emplace_back(verb.name);
    if (words[1] == verb.name) found.verb = &verb;
  }
  if (found.verb == nullptr)
    return fail(Code::invalid, fmt::format("`lathe {}` has no verb \"{}\"; the nearest are {} (see `lathe {} --help`)",
                                           words[0], words[1], fmt::join(nearest(words[1], names), ", "), words[0]));
  return found;
}

bool asks_for_help(const std::vector<std::string>& words) {
  return std::any_of(words.begin(), words.end(), [](const auto& word) { return word == "--help" || word == "-h"; });
}

}  // namespace lathe::cli
