#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/verbs.h"

namespace lathe::cli {

/// What stood on the command line after `lathe GROUP VERB`.
class Arguments {
 public:
  bool has(std::string_view flag) const { return values_.find(flag) != values_.end(); }
  /// The last value given.
  std::optional<std::string> get(std::string_view flag) const;
  std::string get_or(std::string_view flag, std::string fallback) const {
    return get(flag).value_or(std::move(fallback));
  }
  std::vector<std::string> all(std::string_view flag) const;

  void add(std::string_view flag, std::string value) { values_[std::string(flag)].push_back(std::move(value)); }

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

/// Reads the flags of `verb`. Errors: `invalid` — unknown flags with the nearest known ones, missing values.
Result<Arguments> parse_arguments(const Group& group, const Verb& verb, const std::vector<std::string>& words);

/// The group and the verb that the first words name. Errors: `invalid`, with the nearest names.
struct Found {
  const Group* group = nullptr;
  const Verb* verb = nullptr;
};
Result<Found> find_verb(const std::vector<std::string>& words);

/// Whether help was asked for among `words`.
bool asks_for_help(const std::vector<std::string>& words);

std::string help();
std::string help(const Group& group);
std::string help(const Group& group, const Verb& verb);

}  // namespace lathe::cli
