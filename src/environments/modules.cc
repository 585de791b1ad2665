#include "environments/modules.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/text.h"
#include "base/time.h"

namespace lathe::environments {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<Modules> read_list(const fs::path& file) {
  const auto text = read_file(file);
  if (!text) return nullptr;
  auto out = std::make_shared<Modules>();
  for (const auto line : split(*text, '\n')) {
    if (line == "*")
      out->open = true;
    else if (line.starts_with('/'))
      out->folders.emplace_back(line);
    else if (!line.empty())
      out->names.emplace(line);
  }
  return out;
}

/// Whether nothing was added to or taken from its folders since then.
bool unchanged_since(const Modules& modules, std::int64_t then_us) {
  for (const auto& folder : modules.folders) {
    struct stat found {};
    if (::stat(folder.c_str(), &found) != 0) return false;
    if (found.st_mtim.tv_sec * std::int64_t{1'000'000} + found.st_mtim.tv_nsec / 1000 >= then_us) return false;
  }
  return true;
}

/// Runs the system's Python, whose packages root alone can write. False: it failed.
bool ask_system(const fs::path& script, const fs::path& file) {
  std::string words[] = {"/usr/bin/python3", "-I", "-B", script.string(), "--modules", file.string()};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                  words[4].data(), words[5].data(), nullptr};
  std::string path = "PATH=/usr/local/bin:/usr/bin:/bin";
  char* environment[] = {path.data(), nullptr};
  pid_t pid = 0;
  if (::posix_spawn(&pid, argv[0], nullptr, nullptr, argv, environment) != 0) return false;
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

}  // namespace

std::shared_ptr<const Modules> ModuleLists::of_system() {
  const std::lock_guard lock(mutex_);
  if (system_ && unchanged_since(*system_, system_asked_us_)) return system_;
  const auto asked = micros(now());
  const auto file = root_ / ".modules.txt";
  system_ = ask_system(script_, file) ? read_list(file) : nullptr;
  system_asked_us_ = asked;
  return system_;
}

std::shared_ptr<const Modules> ModuleLists::of(const fs::path& folder) {
  const auto system = of_system();
  const std::lock_guard lock(mutex_);
  auto& known = built_[folder.string()];
  if (!known) known = read_list(folder / "modules.txt");
  if (!known || !system) return nullptr;
  if (known->below == system) return known;
  auto renewed = std::make_shared<Modules>(*known);
  renewed->below = system;
  return known = std::move(renewed);
}

}  // namespace lathe::environments
