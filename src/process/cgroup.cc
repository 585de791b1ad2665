#include "process/cgroup.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "process/devices.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kControllers = {"cpu", "memory", "pids"};

struct Mount {
  std::string root;  ///< what of the hierarchy is mounted
  fs::path at;
  bool v2 = false;
  std::vector<std::string> controllers;
};

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

bool write_text(const fs::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text << std::flush;
  return out.good();
}

/// From /proc/self/mountinfo: "31 23 0:28 / /sys/fs/cgroup rw,... - cgroup2 cgroup2 rw".
std::vector<Mount> cgroup_mounts() {
  std::vector<Mount> out;
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    const auto parts = words(line);
    const auto dash = std::find(parts.begin(), parts.end(), "-");
    if (dash == parts.end() || parts.end() - dash < 4 || parts.size() < 6) continue;
    Mount mount{parts[3], parts[4], dash[1] == "cgroup2", {}};
    if (!mount.v2 && dash[1] != "cgroup") continue;
    for (const auto option : split(dash[3], ',')) mount.controllers.emplace_back(option);
    out.push_back(std::move(mount));
  }
  return out;
}

/// The path in /proc/self/cgroup for a v1 controller, or for v2 when `controller` is empty.
std::string own_path(const std::string& controller) {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto named = split(std::string_view(line).substr(first + 1, second - first - 1), ',');
    if (controller.empty() ? named.empty() : std::find(named.begin(), named.end(), controller) != named.end())
      return line.substr(second + 1);
  }
  return "/";
}

/// Where we may make groups: at the top as root, below our own group otherwise.
fs::path base_of(const Mount& mount, const std::string& controller) {
  if (::geteuid() == 0) return mount.at;
  auto own = own_path(controller);
  if (mount.root != "/" && own.starts_with(mount.root)) own.erase(0, mount.root.size());
  return mount.at / fs::path(own).relative_path();
}

/// Empty, or why not.
std::string make_parent(const fs::path& base) {
  if (::access((base / "cgroup.procs").c_str(), W_OK) != 0)
    return base.string() + " may not be changed by this account";
  if (::mkdir((base / "lathe").c_str(), 0755) != 0 && errno != EEXIST)
    return "cannot make " + (base / "lathe").string() + ": " + std::strerror(errno);
  return {};
}

/// cgroup v2 gives controllers only to groups below one that holds no process itself.
void leave_for_leaf(const fs::path& base) {
  const auto leaf = base / "lathe-server";
  ::mkdir(leaf.c_str(), 0755);
  std::ifstream in(base / "cgroup.procs");
  for (std::string pid; std::getline(in, pid);)
    if (pid == std::to_string(::getpid())) write_text(leaf / "cgroup.procs", pid);
}

void enable_controllers(const fs::path& base) {
  const auto there = words(first_line(base / "cgroup.controllers"));
  for (const auto& controller : kControllers) {
    if (std::find(there.begin(), there.end(), controller) == there.end()) continue;
    if (!write_text(base / "cgroup.subtree_control", "+" + controller) && ::geteuid() != 0) {
      leave_for_leaf(base);
      write_text(base / "cgroup.subtree_control", "+" + controller);
    }
    write_text(base / "lathe" / "cgroup.subtree_control", "+" + controller);
  }
}

/// Tries it on a group that is gone again at once.
bool can_deny(const std::string& parent) {
  const auto trial = parent + "/trial-" + std::to_string(::getpid());
  if (::mkdir(trial.c_str(), 0755) != 0) return false;
  const bool works = deny_devices(trial, {{kNvidiaMajor, 0}}).has_value();
  ::rmdir(trial.c_str());
  return works;
}

std::string listed(const std::vector<std::string>& items) {
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i)
    out += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + items[i];
  return out;
}

std::string describe(const Cgroups& groups, const std::string& why_not) {
  std::vector<std::string> v2 = groups.v2_controllers;
  std::vector<std::string> v1;
  std::vector<std::string> none;
  for (const auto& [controller, parent] : groups.v1) v1.push_back(controller);
  for (const auto& controller : kControllers)
    if (!groups.can_limit(controller)) none.push_back(controller);
  std::string out;
  if (!v2.empty()) out = listed(v2) + " limits by cgroup v2";
  if (!v1.empty()) out += (out.empty() ? "" : ", ") + listed(v1) + " limits by cgroup v1";
  if (!none.empty()) {
    out += (out.empty() ? "" : ", ") + std::string("no ") + listed(none) + " limits";
    if (!why_not.empty()) out += " (" + why_not + ")";
  }
  return out +
         (groups.v2.empty() ? "; processes are killed one by one" : "; processes are killed as a group by cgroup v2");
}

}  // namespace

bool Cgroups::can_limit(const std::string& controller) const {
  return v1.contains(controller) ||
         std::find(v2_controllers.begin(), v2_controllers.end(), controller) != v2_controllers.end();
}

Cgroups probe() {
  Cgroups out;
  std::string why_not = "this machine has no cgroups";
  const auto mounts = cgroup_mounts();
  for (const auto& mount : mounts) {
    if (!mount.v2 || !out.v2.empty()) continue;
    const auto base = base_of(mount, "");
    why_not = make_parent(base);
    if (!why_not.empty()) continue;
    out.v2 = base / "lathe";
    enable_controllers(base);
    out.v2_controllers = words(first_line(base / "lathe" / "cgroup.subtree_control"));
    std::erase_if(out.v2_controllers, [](const std::string& name) {
      return std::find(kControllers.begin(), kControllers.end(), name) == kControllers.end();
    });
    why_not = "cgroup v2 does not offer them to this account";
  }
  for (const auto& mount : mounts) {
    for (const auto& controller : mount.controllers) {
      if (controller == "devices" && !mount.v2 && out.devices.empty())
        if (const auto base = base_of(mount, controller); make_parent(base).empty()) out.devices = base / "lathe";
      const bool ours = std::find(kControllers.begin(), kControllers.end(), controller) != kControllers.end();
      if (mount.v2 || !ours || out.can_limit(controller)) continue;
      const auto base = base_of(mount, controller);
      const auto wrong = make_parent(base);
      if (wrong.empty())
        out.v1[controller] = base / "lathe";
      else
        why_not = wrong;
    }
  }
  if (!out.v2.empty() && out.devices.empty() && ::geteuid() == 0) out.denies_devices = can_deny(out.v2);
  out.sentence = describe(out, why_not);
  return out;
}

void kill_group(const std::string& folder) {
  if (write_text(fs::path(folder) / "cgroup.kill", "1")) return;
  std::error_code ignored;
  for (const auto& below : fs::directory_iterator(folder, ignored))
    if (below.is_directory(ignored)) kill_group(below.path());
  std::ifstream in(fs::path(folder) / "cgroup.procs");
  for (int pid = 0; in >> pid;)
    if (pid > 1 && pid != ::getpid()) ::kill(pid, SIGKILL);
}

bool group_populated(const std::string& folder) {
  std::ifstream events(fs::path(folder) / "cgroup.events");
  for (std::string key, value; events >> key >> value;)
    if (key == "populated") return value == "1";
  return !first_line(fs::path(folder) / "cgroup.procs").empty();
}

}  // namespace lathe::process
