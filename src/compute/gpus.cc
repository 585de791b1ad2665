#include "compute/gpus.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "compute/nvml.h"

namespace lathe::compute {
namespace {

namespace fs = std::filesystem;

/// A GPU may gain processes between the question how many there are and the list.
constexpr std::size_t kSpare = 16;

class Nvml final : public Gpus {
 public:
  /// Null, with the reason in `why_not`, when the library or its driver is not there.
  static std::unique_ptr<Nvml> load(const std::string& library, std::string& why_not) {
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      why_not = fmt::format("{} cannot be loaded", library);
      return nullptr;
    }
    std::unique_ptr<Nvml> out(new Nvml(handle));
    why_not = out->begin(library);
    if (!why_not.empty()) return nullptr;
    return out;
  }

  ~Nvml() override {
    if (begun_) nvml_.shutdown();
    ::dlclose(library_);
  }

  Result<std::vector<std::vector<GpuProcess>>> processes() const override {
    const std::lock_guard lock(mutex_);
    std::vector<std::vector<GpuProcess>> out;
    for (const auto device : devices_) {
      LATHE_TRY(auto found, nvml_.processes != nullptr ? ask<nvmlProcessInfo_t>(device, nvml_.processes)
                                                       : ask<nvmlProcessInfo_v1_t>(device, nvml_.processes_v1));
      out.push_back(std::move(found));
    }
    return out;
  }

  std::vector<GpuUsage> usage() const override {
    const std::lock_guard lock(mutex_);
    std::vector<GpuUsage> out;
    for (const auto device : devices_) {
      auto& usage = out.emplace_back();
      nvmlUtilization_t busy{};
      if (nvml_.utilization != nullptr && nvml_.utilization(device, &busy) == nvml::kSuccess)
        usage.busy_percent = busy.gpu;
      nvmlMemory_t memory{};
      if (nvml_.memory(device, &memory) == nvml::kSuccess) usage.memory_bytes = static_cast<std::int64_t>(memory.used);
      usage.power_watts = watts(nvml_.power, device);
      usage.power_limit_watts = watts(nvml_.power_limit, device);
    }
    return out;
  }

 private:
  explicit Nvml(void* library) : library_(library) {}

  template <class F>
  bool find(F& function, std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (void* found = ::dlsym(library_, name)) {
        function = reinterpret_cast<F>(found);
        return true;
      }
    return false;
  }

  /// Empty, or why it cannot be used.
  std::string begin(const std::string& library) {
    const bool complete =
        find(nvml_.init, {"nvmlInit_v2", "nvmlInit"}) && find(nvml_.shutdown, {"nvmlShutdown"}) &&
        find(nvml_.error_string, {"nvmlErrorString"}) && find(nvml_.driver_version, {"nvmlSystemGetDriverVersion"}) &&
        find(nvml_.count, {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"}) &&
        find(nvml_.handle, {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"}) &&
        find(nvml_.uuid, {"nvmlDeviceGetUUID"}) && find(nvml_.name, {"nvmlDeviceGetName"}) &&
        find(nvml_.memory, {"nvmlDeviceGetMemoryInfo"}) && find(nvml_.minor, {"nvmlDeviceGetMinorNumber"}) &&
        (find(nvml_.processes,
              {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"}) ||
         find(nvml_.processes_v1, {"nvmlDeviceGetComputeRunningProcesses"}));
    if (!complete) return fmt::format("{} lacks functions that Lathe needs", library);
    find(nvml_.utilization, {"nvmlDeviceGetUtilizationRates"});
    find(nvml_.power, {"nvmlDeviceGetPowerUsage"});
    find(nvml_.power_limit, {"nvmlDeviceGetEnforcedPowerLimit"});
    find(nvml_.mig_mode, {"nvmlDeviceGetMigMode"});
    find(nvml_.mig_count, {"nvmlDeviceGetMaxMigDeviceCount"});
    find(nvml_.mig_handle, {"nvmlDeviceGetMigDeviceHandleByIndex"});
    if (const int code = nvml_.init(); code != nvml::kSuccess)
      return fmt::format("NVML does not start: {}", words(code));
    begun_ = true;
    unsigned count = 0;
    if (const int code = nvml_.count(&count); code != nvml::kSuccess)
      return fmt::format("NVML cannot count: {}", words(code));
    for (unsigned i = 0; i < count; ++i) {
      nvmlDevice_t device = nullptr;
      if (const int code = nvml_.handle(i, &device); code != nvml::kSuccess) {
        log::warn("a GPU does not answer and is left out gpu={} why={}", i, words(code));
        continue;
      }
      add_card(device);
    }
    source_ = fmt::format("NVML {}", text(nvml_.driver_version));
    return {};
  }

  void add_card(nvmlDevice_t device) {
    Gpu card;
    card.name = text(nvml_.name, device);
    unsigned minor = 0;
    if (nvml_.minor(device, &minor) == nvml::kSuccess) card.minor = static_cast<int>(minor);
    unsigned current = 0;
    unsigned pending = 0;
    const bool split = nvml_.mig_mode != nullptr && nvml_.mig_count != nullptr && nvml_.mig_handle != nullptr &&
                       nvml_.mig_mode(device, &current, &pending) == nvml::kSuccess && current == nvml::kMigEnabled;
    if (!split) {
      add(device, card);
      return;
    }
    card.mig = true;
    unsigned most = 0;
    nvml_.mig_count(device, &most);
    for (unsigned i = 0; i < most; ++i) {
      nvmlDevice_t part = nullptr;
      if (nvml_.mig_handle(device, i, &part) != nvml::kSuccess) continue;  // no instance has this number
      Gpu instance = card;
      if (const auto name = text(nvml_.name, part); !name.empty()) instance.name = name;
      add(part, std::move(instance));
    }
  }

  void add(nvmlDevice_t device, Gpu gpu) {
    gpu.number = static_cast<int>(list_.size());
    gpu.uuid = text(nvml_.uuid, device);
    nvmlMemory_t memory{};
    if (nvml_.memory(device, &memory) == nvml::kSuccess) gpu.memory_bytes = static_cast<std::int64_t>(memory.total);
    list_.push_back(std::move(gpu));
    devices_.push_back(device);
  }

  template <class F, class... Of>
  static std::string text(F function, Of... of) {
    std::array<char, 128> buffer{};
    return function(of..., buffer.data(), static_cast<unsigned>(buffer.size() - 1)) == nvml::kSuccess ? buffer.data()
                                                                                                      : "";
  }

  static std::optional<double> watts(int (*function)(nvmlDevice_t, unsigned*), nvmlDevice_t device) {
    unsigned milliwatts = 0;
    if (function == nullptr || function(device, &milliwatts) != nvml::kSuccess) return std::nullopt;
    return milliwatts / 1e3;
  }

  std::string words(int code) const { return fmt::format("{} ({})", nvml_.error_string(code), code); }

  template <class Info, class F>
  Result<std::vector<GpuProcess>> ask(nvmlDevice_t device, F function) const {
    std::vector<Info> found(kSpare);
    for (;;) {
      auto count = static_cast<unsigned>(found.size());
      const int code = function(device, &count, found.data());
      if (code == nvml::kInsufficientSize) {
        found.resize(std::max<std::size_t>(count, found.size()) + kSpare);
        continue;
      }
      if (code != nvml::kSuccess)
        return fail(Code::unavailable, fmt::format("NVML does not tell who uses a GPU: {}", words(code)));
      found.resize(count);
      break;
    }
    std::vector<GpuProcess> out;
    for (const auto& info : found) {
      GpuProcess process{static_cast<int>(info.pid), std::nullopt};
      if (info.usedGpuMemory != ~0ULL) process.memory_bytes = static_cast<std::int64_t>(info.usedGpuMemory);
      out.push_back(process);
    }
    return out;
  }

  void* library_;
  nvml::Functions nvml_;
  bool begun_ = false;
  std::vector<nvmlDevice_t> devices_;
  mutable std::mutex mutex_;
};

/// Of lines such as "Model: \t\t NVIDIA A100" the text behind the colon; empty when there is none.
std::string value_of(std::string_view text, std::string_view key) {
  for (const auto line : split(text, '\n'))
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':')
      return std::string(trim(line.substr(key.size() + 1)));
  return {};
}

int number_or(std::string_view text, int otherwise) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? value : otherwise;
}

/// A folder for each card, named by its place on the bus, with a file of "Key: value" lines.
std::vector<Gpu> from_proc(const std::string& folder) {
  std::set<fs::path> cards;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    cards.insert(it->path());
  std::vector<Gpu> out;
  for (const auto& card : cards) {
    const auto text = read_file(card / "information").value_or("");
    Gpu gpu;
    gpu.number = static_cast<int>(out.size());
    gpu.uuid = value_of(text, "GPU UUID");
    if (gpu.uuid.find('?') != std::string::npos) gpu.uuid.clear();  // the driver shows these to some accounts only
    gpu.name = value_of(text, "Model");
    gpu.minor = number_or(value_of(text, "Device Minor"), -1);
    out.push_back(std::move(gpu));
  }
  return out;
}

std::vector<Gpu> from_dev(const std::string& folder) {
  std::set<int> minors;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    const auto name = it->path().filename().string();
    if (!name.starts_with("nvidia")) continue;
    if (const int minor = number_or(std::string_view(name).substr(6), -1); minor >= 0) minors.insert(minor);
  }
  std::vector<Gpu> out;
  for (const int minor : minors) {
    Gpu gpu;
    gpu.number = static_cast<int>(out.size());
    gpu.name = fmt::format("{}/nvidia{}", folder, minor);
    gpu.minor = minor;
    out.push_back(std::move(gpu));
  }
  return out;
}

/// The same without NVML.
class Listed final : public Gpus {
 public:
  Listed(const Places& places, const std::string& why_not) {
    list_ = from_proc(places.proc);
    source_ = places.proc;
    if (list_.empty()) {
      list_ = from_dev(places.dev);
      source_ = places.dev;
    }
    if (list_.empty())
      source_ = fmt::format("no NVIDIA GPU ({})", why_not);
    else
      source_ += fmt::format(" ({}: memory and processes of GPUs are unknown)", why_not);
  }
};

}  // namespace

std::unique_ptr<Gpus> Gpus::open(const Places& places) {
  std::string why_not;
  if (auto nvml = Nvml::load(places.library, why_not)) return nvml;
  return std::make_unique<Listed>(places, why_not);
}

Result<std::vector<std::vector<GpuProcess>>> Gpus::processes() const {
  if (list_.empty()) return std::vector<std::vector<GpuProcess>>{};
  return fail(Code::unavailable, "only NVML tells who uses a GPU");
}

Gpus::Places gpu_places(const char* (*environment)(const char*)) {
  Gpus::Places places;
  if (const char* library = environment("LATHE_NVML"); library != nullptr && *library != '\0') places.library = library;
  return places;
}

std::vector<std::pair<std::string, std::string>> gpu_environment(const std::vector<Gpu>& all,
                                                                 const std::vector<int>& numbers) {
  std::vector<std::string> uuids;
  for (const int number : numbers)
    for (const auto& gpu : all)
      if (gpu.number == number && !gpu.uuid.empty()) uuids.push_back(gpu.uuid);
  if (uuids.size() == numbers.size()) return {{"CUDA_VISIBLE_DEVICES", fmt::format("{}", fmt::join(uuids, ","))}};
  return {{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"}, {"CUDA_VISIBLE_DEVICES", fmt::format("{}", fmt::join(numbers, ","))}};
}

std::vector<int> denied_minors(const std::vector<Gpu>& all, const std::vector<int>& numbers) {
  std::set<int> denied;
  for (const auto& gpu : all)
    if (gpu.minor >= 0) denied.insert(gpu.minor);
  for (const auto& gpu : all)
    if (std::find(numbers.begin(), numbers.end(), gpu.number) != numbers.end()) denied.erase(gpu.minor);
  return {denied.begin(), denied.end()};
}

}  // namespace lathe::compute
