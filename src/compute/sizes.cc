#include "compute/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

struct Known {
  std::string_view name;
  std::int64_t cores;
  std::int64_t gib;
  std::int64_t gpus;
};

// Azure's published sizes that its examples and documentation use.
constexpr std::array kAzure = {
    Known{"Standard_DS1_v2", 1, 3, 0},       Known{"Standard_DS2_v2", 2, 7, 0},      Known{"Standard_DS3_v2", 4, 14, 0},
    Known{"Standard_DS4_v2", 8, 28, 0},      Known{"Standard_DS5_v2", 16, 56, 0},    Known{"Standard_DS11_v2", 2, 14, 0},
    Known{"Standard_DS12_v2", 4, 28, 0},     Known{"Standard_DS13_v2", 8, 56, 0},    Known{"Standard_DS14_v2", 16, 112, 0},
    Known{"Standard_D2_v2", 2, 7, 0},        Known{"Standard_D3_v2", 4, 14, 0},      Known{"Standard_D4_v2", 8, 28, 0},
    Known{"Standard_D2_v3", 2, 8, 0},        Known{"Standard_D4_v3", 4, 16, 0},      Known{"Standard_D8_v3", 8, 32, 0},
    Known{"Standard_D2s_v3", 2, 8, 0},       Known{"Standard_D4s_v3", 4, 16, 0},     Known{"Standard_D8s_v3", 8, 32, 0},
    Known{"Standard_D16s_v3", 16, 64, 0},    Known{"Standard_D32s_v3", 32, 128, 0},  Known{"Standard_D2as_v4", 2, 8, 0},
    Known{"Standard_D4as_v4", 4, 16, 0},     Known{"Standard_E2s_v3", 2, 16, 0},     Known{"Standard_E4s_v3", 4, 32, 0},
    Known{"Standard_E8s_v3", 8, 64, 0},      Known{"Standard_F2s_v2", 2, 4, 0},      Known{"Standard_F4s_v2", 4, 8, 0},
    Known{"Standard_F8s_v2", 8, 16, 0},      Known{"Standard_F16s_v2", 16, 32, 0},   Known{"Standard_F32s_v2", 32, 64, 0},
    Known{"Standard_NC6", 6, 56, 1},         Known{"Standard_NC12", 12, 112, 2},     Known{"Standard_NC24", 24, 224, 4},
    Known{"Standard_NC6s_v3", 6, 112, 1},    Known{"Standard_NC12s_v3", 12, 224, 2}, Known{"Standard_NC24s_v3", 24, 448, 4},
    Known{"Standard_NC4as_T4_v3", 4, 28, 1}, Known{"Standard_NC24ads_A100_v4", 24, 220, 1},
    Known{"Standard_ND40rs_v2", 40, 672, 8}, Known{"Standard_ND96asr_v4", 96, 900, 8}, Known{"Standard_NV6", 6, 56, 1}};

Size cut_down(std::string name, const Resources& asked, const Resources& machine) {
  Resources given = asked;
  given.cores = std::min(asked.cores, machine.cores);
  given.memory_bytes = std::min(asked.memory_bytes, machine.memory_bytes);
  return {std::move(name), asked, given};
}

}  // namespace

std::vector<Size> sizes(const Resources& machine) {
  std::vector<Size> out;
  out.push_back({"all", machine, machine});
  for (std::int64_t cores = 1; cores < machine.cores; cores *= 2) {
    const Resources part{cores, machine.memory_bytes * cores / machine.cores, 0};
    out.push_back({fmt::format("cpu-{}", cores), part, part});
  }
  for (std::int64_t gpus = 1; gpus <= machine.gpus; gpus *= 2) {
    const Resources part{std::max<std::int64_t>(1, machine.cores * gpus / machine.gpus), machine.memory_bytes * gpus / machine.gpus, gpus};
    out.push_back({fmt::format("gpu-{}", gpus), part, part});
  }
  for (const auto& known : kAzure)
    if (known.gpus <= machine.gpus) out.push_back(cut_down(std::string(known.name), {known.cores, known.gib * kGiB, known.gpus}, machine));
  return out;
}

Result<Size> find_size(std::string_view name, const Resources& machine) {
  std::vector<std::string> names;
  for (auto& size : sizes(machine)) {
    if (to_lower(size.name) == to_lower(name)) return size;
    names.push_back(size.name);
  }
  for (const auto& known : kAzure)
    if (to_lower(known.name) == to_lower(name))
      return fail(Code::invalid, fmt::format("size: {} needs {} GPU{}, and this machine has {}", known.name, known.gpus,
                                             known.gpus == 1 ? "" : "s", machine.gpus));
  return fail(Code::invalid, "size: " + unknown_name("size", name, names) + "; `lathe compute list-sizes` shows all");
}

}  // namespace lathe::compute
