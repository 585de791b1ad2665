#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "app/app.h"
#include "base/text.h"
#include "cli/cli.h"

namespace {

using lathe::app::Config;

const char* environment(const char* name) { return std::getenv(name); }

/// The settings, or `only` some of them, as flags of `command`; what was given ends up in `flags`.
void add_settings(CLI::App& command, std::map<std::string, std::string>& flags,
                  const std::vector<std::string_view>& only = {}) {
  for (const auto& setting : lathe::app::settings()) {
    if (!only.empty() && std::find(only.begin(), only.end(), setting.name) == only.end()) continue;
    std::string flag = "--";
    for (const char c : setting.name) flag.push_back(c == '_' ? '-' : c);
    std::string doc(setting.doc);
    if (!setting.fallback.empty()) doc += fmt::format(" [{}]", setting.fallback);
    if (setting.fallback == "false") {
      command.add_flag_callback(flag, [&flags, name = std::string(setting.name)] { flags[name] = "true"; }, std::string(setting.doc));
      continue;
    }
    command.add_option_function<std::string>(
        flag, [&flags, name = std::string(setting.name)](const std::string& value) { flags[name] = value; }, doc);
  }
  command.add_option_function<std::string>(
      "--config", [&flags](const std::string& value) { flags["config"] = value; }, "YAML file with these settings, such as `port: 8080`");
}

constexpr std::array<std::string_view, 5> kStoreVerbs = {"backup", "restore", "verify", "compact", "import"};

bool is_store_verb(std::string_view verb) {
  return std::find(kStoreVerbs.begin(), kStoreVerbs.end(), verb) != kStoreVerbs.end();
}

void add_store_verbs(CLI::App& store, std::map<std::string, std::string>& flags, lathe::app::StoreRequest& request) {
  store.require_subcommand(1);
  const auto add = [&](const char* name, const char* summary) {
    auto* verb = store.add_subcommand(name, summary);
    add_settings(*verb, flags, {"data", "store", "artifacts", "artifacts_endpoint", "artifacts_region", "artifacts_path_style"});
    verb->parse_complete_callback([&request, name] { request.verb = name; });
    return verb;
  };
  auto* backup = add("backup", "Write rows and files to one file, also while the server runs. It holds tokens and keys: keep it safe");
  backup->add_option("FILE", request.file, "the file to write")->required();
  backup->add_flag("--no-artifacts", request.no_artifacts, "rows only: no artifacts, models, data, code or logs");
  auto* restore = add("restore", "Bring a backup into a new data folder; the server must not run");
  restore->add_option("FILE", request.file, "the file that `backup` wrote")->required();
  restore->add_flag("--force", request.force, "put what is there aside, and restore");
  add("verify", "Check the store and its files, also while the server runs; 1 when something is wrong");
  add("compact", "Give the room of what was deleted back to the disk; the server must not run");
  store.add_subcommand("import", "Take over another MLflow server's content (see `lathe store import --help`)");
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void show(const Config& config) {
  for (const auto& setting : lathe::app::settings())
    fmt::print("{:<24} {:<40} {}\n", setting.name, config.shown(setting.name), config.origin(setting.name));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view group = argc > 1 ? argv[1] : "";
  const std::string_view verb = argc > 2 ? argv[2] : "";
  const bool of_store = group == "store" && verb != "import";
  if (group != "serve" && group != "stop" && group != "config" && !of_store) return lathe::cli::run(argc, argv);

  if (of_store && !verb.empty() && !verb.starts_with('-') && !is_store_verb(verb)) {
    fmt::print(stderr, "lathe: `lathe store` has no verb \"{}\"; the nearest are {} (see `lathe store --help`)\n", verb,
               fmt::join(lathe::nearest(verb, {kStoreVerbs.begin(), kStoreVerbs.end()}), ", "));
    return 2;
  }
  CLI::App app{"Lathe: managed machine learning on your own machines", "lathe"};
  app.require_subcommand(1);

  std::map<std::string, std::string> flags;
  auto* serve = app.add_subcommand("serve", "Run the server");
  add_settings(*serve, flags);
  auto* stop = app.add_subcommand("stop", "Stop the server; with --all, the jobs and the predictions too");
  add_settings(*stop, flags, {"data"});
  bool all = false;
  stop->add_flag("--all", all, "end the jobs and the predictions too");
  auto* config_group = app.add_subcommand("config", "The server's settings");
  config_group->require_subcommand(1);
  auto* config_show = config_group->add_subcommand("show", "Print every setting and where its value came from");
  add_settings(*config_show, flags);

  lathe::app::StoreRequest request;
  auto* store = app.add_subcommand("store", "The store as a whole: backups, checks, and taking over another server's");
  add_store_verbs(*store, flags, request);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "lathe: {} (see `lathe {} --help`)\n", one_line(error.what()), group);
    return 2;
  }
  const auto config = Config::load(flags, environment);
  if (!config) {
    fmt::print(stderr, "lathe: {}\n", config.error().message);
    return 2;
  }
  if (*serve) return lathe::app::serve(*config);
  if (*stop) return lathe::app::stop(config->data(), all);
  if (*store) return lathe::app::store(*config, request);
  show(*config);
  return 0;
}
