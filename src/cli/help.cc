#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/arguments.h"
#include "cli/exit_codes.h"

namespace lathe::cli {
namespace {

std::string_view placeholder(const Flag& flag) {
  switch (flag.takes) {
    case Takes::none:
      return "";
    case Takes::map:
      return " KEY=VALUE...";
    case Takes::list:
      return " TEXT...";
    case Takes::path:
      return " PATH";
    case Takes::scalar:
      return " VALUE";
    case Takes::text:
      return " TEXT";
  }
  return "";
}

/// `hiding`: flags of a verb that stand in for some of these.
std::string flags_help(const std::vector<Flag>& flags, const std::vector<Flag>& hiding = {}) {
  std::string out;
  for (const auto& flag : flags) {
    const bool hidden =
        std::any_of(hiding.begin(), hiding.end(), [&](const Flag& other) { return other.name == flag.name; });
    if (hidden) continue;
    const auto head =
        fmt::format("{:>4}{} {}{}", flag.letter, flag.letter.empty() ? " " : ",", flag.name, placeholder(flag));
    out += fmt::format("{:<38} {}\n", head, flag.doc);
  }
  return out;
}

std::string examples_help(const std::vector<Example>& examples) {
  std::string out;
  std::size_t width = 0;
  for (const auto& example : examples) width = std::max(width, example.command.size());
  for (const auto& example : examples)
    out += fmt::format("  lathe {:<{}}   {}\n", example.command, width, example.meaning);
  return out;
}

std::string usage(const Group& group, const Verb& verb) {
  return verb.name.empty() ? fmt::format("lathe {}", group.name) : fmt::format("lathe {} {}", group.name, verb.name);
}

}  // namespace

std::string help() {
  std::string out =
      "Lathe: managed machine learning on your own machines.\n\n"
      "Usage: lathe GROUP VERB [flags]     groups and verbs as in `az ml`\n\n"
      "The server\n"
      "  serve                Run the server\n"
      "  stop                 Stop the server; with --all, the jobs and the predictions too\n"
      "  config               The server's settings and where they come from\n\n"
      "Groups (each has --help)\n";
  for (const auto& group : groups()) out += fmt::format("  {:<20} {}\n", group.name, group.summary);
  out += "\nExamples\n" + examples_help({{"serve", "start a server here"},
                                         {"compute create -f compute.yml", "make a training cluster"},
                                         {"job create -f job.yml --stream", "run a job and follow its log"},
                                         {"job list -o table", "what ran, newest first"},
                                         {"model show -n churn -v 3", "a model and what made it"}});
  out += "\nFlags of every verb\n" + flags_help(common_flags());
  out +=
      "\nThe server is the one that --url names, else LATHE_URL (token: LATHE_TOKEN), else the context in use\n"
      "(`lathe login`, `lathe context use`), else the one that runs here on the default data folder.\n\n";
  return out + kExitCodesHelp;
}

std::string help(const Group& group) {
  if (group.verbs.size() == 1 && group.verbs[0].name.empty()) return help(group, group.verbs[0]);
  std::string out = fmt::format("lathe {}: {}\n\nUsage: lathe {} VERB [flags]     each verb has --help\n\n", group.name,
                                group.summary, group.name);
  for (const auto& verb : group.verbs) out += fmt::format("  {:<20} {}\n", verb.name, verb.summary);
  std::vector<Example> examples;
  for (const auto& verb : group.verbs)
    if (!verb.examples.empty()) examples.push_back(verb.examples.front());
  if (!examples.empty()) out += "\nExamples\n" + examples_help(examples);
  return out;
}

std::string help(const Group& group, const Verb& verb) {
  std::string out = fmt::format("{}: {}\n", usage(group, verb), verb.summary);
  if (!verb.examples.empty()) out += "\nExamples\n" + examples_help(verb.examples);
  if (!verb.flags.empty()) out += "\nFlags\n" + flags_help(verb.flags);
  out += "\nFlags of every verb\n" + flags_help(common_flags(), verb.flags);
  if (!verb.path.empty()) out += fmt::format("\nCalls: {} {}\n", verb.method, verb.path);
  return out + "\n" + kExitCodesHelp;
}

}  // namespace lathe::cli
