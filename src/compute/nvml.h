#pragma once

/// What we use of NVIDIA's management library, declared here as its reference documents it: no header of NVIDIA's is
/// needed to build. All functions answer 0 when they worked.
extern "C" {

using nvmlDevice_t = struct nvmlDevice_st*;

struct nvmlMemory_t {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

/// As the functions that end in _v2 and _v3 write it.
struct nvmlProcessInfo_t {
  unsigned int pid;
  unsigned long long usedGpuMemory;  ///< all ones: unknown
  unsigned int gpuInstanceId;
  unsigned int computeInstanceId;
};

/// As the first version of the function writes it.
struct nvmlProcessInfo_v1_t {
  unsigned int pid;
  unsigned long long usedGpuMemory;
};

/// Of the last moments, in percent.
struct nvmlUtilization_t {
  unsigned int gpu;
  unsigned int memory;  ///< how busy the memory was, not how full
};

}  // extern "C"

namespace lathe::compute::nvml {

constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr unsigned kMigEnabled = 1;

struct Functions {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*handle)(unsigned, nvmlDevice_t*) = nullptr;
  int (*uuid)(nvmlDevice_t, char*, unsigned) = nullptr;
  int (*name)(nvmlDevice_t, char*, unsigned) = nullptr;
  int (*memory)(nvmlDevice_t, nvmlMemory_t*) = nullptr;
  int (*minor)(nvmlDevice_t, unsigned*) = nullptr;
  int (*processes)(nvmlDevice_t, unsigned*, nvmlProcessInfo_t*) = nullptr;        ///< or
  int (*processes_v1)(nvmlDevice_t, unsigned*, nvmlProcessInfo_v1_t*) = nullptr;  ///< on old drivers
  int (*utilization)(nvmlDevice_t, nvmlUtilization_t*) = nullptr;                 ///< these three may be absent
  int (*power)(nvmlDevice_t, unsigned*) = nullptr;                                ///< milliwatts
  int (*power_limit)(nvmlDevice_t, unsigned*) = nullptr;
  int (*mig_mode)(nvmlDevice_t, unsigned*, unsigned*) = nullptr;                  ///< absent on old drivers
  int (*mig_count)(nvmlDevice_t, unsigned*) = nullptr;
  int (*mig_handle)(nvmlDevice_t, unsigned, nvmlDevice_t*) = nullptr;
};

}  // namespace lathe::compute::nvml
