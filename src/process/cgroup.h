#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lathe::process {

/// Which cgroups this machine lets us make. Folders end in "/lathe" and exist.
struct Cgroups {
  std::string v2;                           ///< parent on the cgroup2 hierarchy; empty: none
  std::vector<std::string> v2_controllers;  ///< those that groups below `v2` have
  std::map<std::string, std::string> v1;    ///< controller ("cpu", "memory", "pids") -> parent, where v2 lacks it
  std::string devices;           ///< parent where v1's devices controller is ours; empty: none
  bool denies_devices = false;   ///< the kernel takes programs that deny devices to groups below `v2`
  std::string sentence;  ///< for people: "memory and pids are limited by cgroup v2; cpu is not limited: ..."

  bool can_limit(const std::string& controller) const;
  bool can_deny_devices() const { return !devices.empty() || denies_devices; }
};

/// Looks and makes the parent folders. In a cgroup of our own without other processes (systemd's Delegate=yes) this
/// process moves to a leaf, which cgroup v2 asks for. Call it once at start; thread-safe, blocks on a few small files.
Cgroups probe();

/// Kills every process in the cgroup `folder` and those below it. Does not wait.
void kill_group(const std::string& folder);

/// Whether a process is in the cgroup `folder`. False when it does not exist.
bool group_populated(const std::string& folder);

}  // namespace lathe::process
