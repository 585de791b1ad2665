#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process/supervised.h"

/// A program that sees of the machine only what it is given, by bubblewrap: no privileges are needed for it.
namespace lathe::process {

/// The root file system of a container image, which stands in for the machine's own.
struct ImageRoot {
  std::filesystem::path folder;
  std::vector<std::pair<std::string, std::string>>
      env;                                    ///< what the program gets of it, unless its spec says otherwise
  std::vector<std::filesystem::path> driver;  ///< `gpu_driver()`, where it has GPUs
};

/// The libraries of NVIDIA's driver on this machine: they have to fit the kernel's part of it, so an image has none.
std::vector<std::filesystem::path> gpu_driver();

/// What is added to the system's own folders (/usr, /etc, /opt, read-only), which every sandbox has, or to an image's.
struct Sandbox {
  std::vector<Bind> read_only;                  ///< a target within a writable folder must exist
  std::vector<std::filesystem::path> writable;  ///< its own folders, where they are outside
  std::filesystem::path temporary;              ///< one of them, or below one: its /tmp and /var/tmp; empty: memory
  bool network = true;
  bool gpus = false;
  std::vector<int> hidden_gpus;  ///< minor numbers of /dev/nvidia* that are left out
  std::optional<ImageRoot> image;
  std::filesystem::path shim;  ///< lathe-shim as the account can read it; needed with an image
};

/// The device files in `folder` that programs on GPUs need, but for the cards with these minor numbers.
std::vector<std::filesystem::path> gpu_devices(const std::filesystem::path& folder, const std::vector<int>& hidden);

/// Puts `spec`'s program into a sandbox: a process namespace of its own, no other folders, no other account's
/// processes, no namespaces within. Its binds move into `box` where the shim cannot mount.
void enter_sandbox(Spec& spec, Sandbox box);

/// Why no sandbox can be made here for `account` (absent: ours), in a sentence; nothing: it works. Tries
/// it, which takes some milliseconds.
std::optional<std::string> why_no_sandbox(const std::optional<Account>& account);

}  // namespace lathe::process
