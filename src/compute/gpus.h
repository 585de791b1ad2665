#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

/// The NVIDIA GPUs of this machine: by NVIDIA's management library (NVML), else by what the driver shows in /proc, else
/// by the device files.
namespace lathe::compute {

/// A GPU, or an instance of one that is split by MIG: programs use either by its uuid.
struct Gpu {
  int number = 0;  ///< in our list, which is NVML's order
  std::string uuid;  ///< "GPU-8f6a...", "MIG-..."; empty: unknown, then programs are given the number
  std::string name;
  std::int64_t memory_bytes = 0;  ///< 0: unknown
  int minor = -1;  ///< of /dev/nvidiaMINOR; -1: unknown
  bool mig = false;
};

/// A process that computes on a GPU.
struct GpuProcess {
  int pid = 0;
  std::optional<std::int64_t> memory_bytes;  ///< absent: the driver does not say
};

/// How busy a GPU is at this moment, with all that runs on it; absent: the driver does not say (of a MIG instance it
/// tells the memory alone).
struct GpuUsage {
  std::optional<double> busy_percent;
  std::optional<std::int64_t> memory_bytes;
  std::optional<double> power_watts;
  std::optional<double> power_limit_watts;
};

/// Thread-safe. Blocks on the driver: milliseconds for each call.
class Gpus {
 public:
  /// Where to look; tests name places of their own.
  struct Places {
    std::string library = "libnvidia-ml.so.1";
    std::string proc = "/proc/driver/nvidia/gpus";
    std::string dev = "/dev";
  };
  /// Always answers: a machine without GPUs has an empty list.
  static std::unique_ptr<Gpus> open(const Places& places);
  virtual ~Gpus() = default;

  const std::vector<Gpu>& list() const { return list_; }
  /// Where the list comes from, and what is missing: "NVML 550.54.14", "/proc/driver/nvidia/gpus (libnvidia-ml.so.1
  /// cannot be loaded: memory and processes are unknown)".
  const std::string& source() const { return source_; }
  /// Those of each GPU, in the list's order. Errors: `unavailable` — without NVML nothing is known of them, or it failed.
  virtual Result<std::vector<std::vector<GpuProcess>>> processes() const;
  /// Of each GPU, in the list's order; without NVML nothing is known of any.
  virtual std::vector<GpuUsage> usage() const { return std::vector<GpuUsage>(list_.size()); }

 protected:
  std::vector<Gpu> list_;
  std::string source_;
};

/// $LATHE_NVML in place of the library, else the usual places.
Gpus::Places gpu_places(const char* (*environment)(const char*));

/// What programs need to see `numbers` of `all` only: CUDA_VISIBLE_DEVICES, by uuid where all are known (so that CUDA's own
/// order does not matter), else by number with CUDA_DEVICE_ORDER=PCI_BUS_ID.
std::vector<std::pair<std::string, std::string>> gpu_environment(const std::vector<Gpu>& all, const std::vector<int>& numbers);

/// Minor numbers of the device files that a program with `numbers` of `all` must not open. A MIG instance's card is shared.
std::vector<int> denied_minors(const std::vector<Gpu>& all, const std::vector<int>& numbers);

}  // namespace lathe::compute
