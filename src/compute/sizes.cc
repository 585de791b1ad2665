#include "compute/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace lathe::compute {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr std::int64_t kWholeGpu = 1000;

struct Known {
  std::string_view name;
  std::int64_t cores;
  std::int64_t gib;
  std::int64_t gpus;
};

// Azure's published sizes that its examples and documentation use.
constexpr std::array kAzure = {Known{"Standard_DS1_v2", 1, 3, 0},       Known{"Standard_DS2_v2", 2, 7, 0},
                               Known{"Standard_DS3_v2", 4, 14, 0},      Known{"Standard_DS4_v2", 8, 28, 0},
                               Known{"Standard_DS5_v2", 16, 56, 0},     Known{"Standard_DS11_v2", 2, 14, 0},
                               Known{"Standard_DS12_v2", 4, 28, 0},     Known{"Standard_DS13_v2", 8, 56, 0},
                               Known{"Standard_DS14_v2", 16, 112, 0},   Known{"Standard_D2_v2", 2, 7, 0},
                               Known{"Standard_D3_v2", 4, 14, 0},       Known{"Standard_D4_v2", 8, 28, 0},
                               Known{"Standard_D2_v3", 2, 8, 0},        Known{"Standard_D4_v3", 4, 16, 0},
                               Known{"Standard_D8_v3", 8, 32, 0},       Known{"Standard_D2s_v3", 2, 8, 0},
                               Known{"Standard_D4s_v3", 4, 16, 0},      Known{"Standard_D8s_v3", 8, 32, 0},
                               Known{"Standard_D16s_v3", 16, 64, 0},    Known{"Standard_D32s_v3", 32, 128, 0},
                               Known{"Standard_D2as_v4", 2, 8, 0},      Known{"Standard_D4as_v4", 4, 16, 0},
                               Known{"Standard_E2s_v3", 2, 16, 0},      Known{"Standard_E4s_v3", 4, 32, 0},
                               Known{"Standard_E8s_v3", 8, 64, 0},      Known{"Standard_F2s_v2", 2, 4, 0},
                               Known{"Standard_F4s_v2", 4, 8, 0},       Known{"Standard_F8s_v2", 8, 16, 0},
                               Known{"Standard_F16s_v2", 16, 32, 0},    Known{"Standard_F32s_v2", 32, 64, 0},
                               Known{"Standard_NC6", 6, 56, 1},         Known{"Standard_NC12", 12, 112, 2},
                               Known{"Standard_NC24", 24, 224, 4},      Known{"Standard_NC6s_v3", 6, 112, 1},
                               Known{"Standard_NC12s_v3", 12, 224, 2},  Known{"Standard_NC24s_v3", 24, 448, 4},
                               Known{"Standard_NC4as_T4_v3", 4, 28, 1}, Known{"Standard_NC24ads_A100_v4", 24, 220, 1},
                               Known{"Standard_ND40rs_v2", 40, 672, 8}, Known{"Standard_ND96asr_v4", 96, 900, 8},
                               Known{"Standard_NV6", 6, 56, 1}};

Size azure_size(const Known& known, const Resources& machine) {
  const Resources asked{known.cores, known.gib * kGiB, known.gpus};
  Resources given = asked;
  given.cores = std::min(asked.cores, machine.cores);
  given.memory_bytes = std::min(asked.memory_bytes, machine.memory_bytes);
  return {std::string(known.name), asked, given, Size::From::azure};
}

/// "2", "0.5", "16GiB": the number in front, and what is behind it. Errors: `invalid`.
Result<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !(value >= 0) || value > 1e9)
    return fail(Code::invalid, fmt::format("\"{}\" is no number", text));
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

Result<void> take_part(std::string_view part, Resources& into) {
  const auto colon = part.find(':');
  const auto key = part.substr(0, colon);
  auto rest = colon == std::string_view::npos ? std::string_view{} : part.substr(colon + 1);
  LATHE_TRY(const auto number, take_number(rest));
  if (key == "memory") {
    const auto unit = to_lower(rest);
    const double bytes = unit == "gib" || unit == "g" ? 0x1p30 : unit == "mib" || unit == "m" ? 0x1p20 : 0;
    if (bytes == 0)
      return fail(Code::invalid, fmt::format("memory has a unit, as in memory:4GiB, and not \"{}\"", part));
    into.memory_bytes = static_cast<std::int64_t>(number * bytes);
    return {};
  }
  const bool whole = number == std::floor(number);
  if (!rest.empty() || (key != "gpu" && key != "gpus" && key != "cores") || (key == "cores" && !whole) ||
      (!whole && number > 1))
    return fail(Code::invalid, fmt::format("\"{}\" is none of cores:N, memory:NGiB, gpu:N and gpu:0.N", part));
  if (key == "cores")
    into.cores = static_cast<std::int64_t>(number);
  else if (whole)
    into.gpus = static_cast<std::int64_t>(number);
  else
    into.gpu_share = std::max<std::int64_t>(1, std::llround(number * kWholeGpu));
  return {};
}

}  // namespace

Result<std::vector<Size>> parse_sizes(std::string_view text) {
  std::vector<Size> out;
  for (const auto item : split(text, ',')) {
    if (trim(item).empty()) continue;
    const auto equals = item.find('=');
    const auto name = std::string(trim(item.substr(0, equals)));
    const bool good = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
    });
    if (!good || equals == std::string_view::npos)
      return fail(Code::invalid, fmt::format("sizes: \"{}\" does not read NAME=cores:N memory:NGiB gpu:N", trim(item)));
    Resources has;
    for (const auto part : split(item.substr(equals + 1), ' ')) {
      if (trim(part).empty()) continue;
      if (auto taken = take_part(trim(part), has); !taken)
        return fail(Code::invalid, fmt::format("sizes: {}: {}", name, taken.error().message));
    }
    if (has.cores < 1 || has.memory_bytes < 1)
      return fail(Code::invalid,
                  fmt::format("sizes: {}: needs cores and memory, as in {}=cores:2 memory:4GiB", name, name));
    for (const auto& other : out)
      if (to_lower(other.name) == to_lower(name))
        return fail(Code::invalid, fmt::format("sizes: {} is there twice", name));
    out.push_back({name, has, has, Size::From::administrator});
  }
  return out;
}

std::vector<Size> Sizes::list() const {
  const auto& m = machine_;
  std::vector<Size> out = own_;
  const auto part = [&](std::string name, const Resources& has) {
    out.push_back({std::move(name), has, has, Size::From::machine});
  };
  part("all", m);
  for (std::int64_t cores = 1; cores < m.cores; cores *= 2)
    part(fmt::format("cpu-{}", cores), {cores, m.memory_bytes * cores / m.cores, 0});
  for (const std::int64_t share : {kWholeGpu / 4, kWholeGpu / 2})
    if (m.gpus > 0)
      part(fmt::format("gpu-{:.2g}", static_cast<double>(share) / kWholeGpu),
           {std::max<std::int64_t>(1, m.cores * share / (m.gpus * kWholeGpu)),
            m.memory_bytes * share / (m.gpus * kWholeGpu), 0, share});
  for (std::int64_t gpus = 1; gpus <= m.gpus; gpus *= 2)
    part(fmt::format("gpu-{}", gpus),
         {std::max<std::int64_t>(1, m.cores * gpus / m.gpus), m.memory_bytes * gpus / m.gpus, gpus});
  for (const auto& known : kAzure)
    if (known.gpus <= m.gpus) out.push_back(azure_size(known, m));
  return out;
}

Result<Size> Sizes::find(std::string_view name) const {
  std::vector<std::string> names;
  for (auto& size : list()) {
    names.push_back(size.name);
    if (to_lower(size.name) != to_lower(name)) continue;
    if (!size.given.fits_in(machine_))
      return fail(Code::invalid, fmt::format("size: {} is {}, and this machine has {}", size.name, size.asked.words(),
                                             machine_.words()));
    return size;
  }
  for (const auto& known : kAzure)
    if (to_lower(known.name) == to_lower(name))
      return fail(Code::invalid, fmt::format("size: {} needs {} GPU{}, and this machine has {}", known.name, known.gpus,
                                             known.gpus == 1 ? "" : "s", machine_.gpus));
  return fail(Code::invalid, "size: " + unknown_name("size", name, names) + "; `lathe compute list-sizes` shows all");
}

Resources Sizes::node(const Size& size, const Resources& reserved) const {
  Resources out = size.given;
  if (!size.elastic()) return out;
  out.cores = std::clamp<std::int64_t>(machine_.cores - reserved.cores, 1, out.cores);
  out.memory_bytes = std::clamp<std::int64_t>(machine_.memory_bytes - reserved.memory_bytes,
                                              std::min(kGiB / 4, out.memory_bytes), out.memory_bytes);
  if (size.name == "all")
    out.gpus = std::clamp<std::int64_t>(machine_.gpus - reserved.gpus - (reserved.gpu_share > 0 ? 1 : 0), 0, out.gpus);
  return out;
}

Resources Sizes::at_most_half(Resources amount) const {
  amount.cores = std::clamp<std::int64_t>(machine_.cores / 2, 1, std::max<std::int64_t>(amount.cores, 1));
  amount.memory_bytes = std::min(amount.memory_bytes, machine_.memory_bytes / 2);
  return amount;
}

}  // namespace lathe::compute
