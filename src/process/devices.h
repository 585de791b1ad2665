#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

/// Which device files a group of processes may not open, by cgroup: v1's devices controller by its file, v2 by a small
/// program for the kernel (BPF_PROG_TYPE_CGROUP_DEVICE). Both need root.
namespace lathe::process {

/// A character device.
struct Device {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

/// NVIDIA's cards are /dev/nvidiaMINOR.
constexpr std::uint32_t kNvidiaMajor = 195;

/// From now on no process in `group`, a folder of the cgroup2 hierarchy, opens one of `devices`. Holds until the group goes.
/// Errors: `forbidden` — not root, or not offered by this kernel; `internal`.
Result<void> deny_devices(const std::string& group, const std::vector<Device>& devices);

}  // namespace lathe::process
