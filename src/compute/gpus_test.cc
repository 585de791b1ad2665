#include "compute/gpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace lathe::compute {
namespace {

namespace fs = std::filesystem;
using Pairs = std::vector<std::pair<std::string, std::string>>;

/// A machine of its own for each test: a folder with what the fake NVML reads, /proc and /dev.
class GpusOf : public testing::Test {
 protected:
  GpusOf() {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "dev");
  }
  ~GpusOf() override {
    ::unsetenv("FAKE_NVML");
    fs::remove_all(folder_);
  }
  void nvml(const std::string& text) {
    write("nvml", text);
    ::setenv("FAKE_NVML", (folder_ / "nvml").c_str(), 1);
  }
  void write(const std::string& file, const std::string& text) {
    fs::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file) << text;
  }
  std::unique_ptr<Gpus> open(const std::string& library = LATHE_FAKE_NVML) const {
    return Gpus::open({library, folder_ / "proc", folder_ / "dev"});
  }

  fs::path folder_ = fs::temp_directory_path() / ("gpus-test-" + std::to_string(::getpid()));
};

TEST_F(GpusOf, NvmlNamesEachGpuWithItsMemory) {
  nvml("gpu GPU-a 0 40960 NVIDIA A100\ngpu GPU-b 3 24576 NVIDIA A10\n");
  const auto gpus = open();
  EXPECT_EQ(gpus->source(), "NVML 999.01");
  ASSERT_EQ(gpus->list().size(), 2U);
  const auto& second = gpus->list()[1];
  EXPECT_EQ(second.number, 1);
  EXPECT_EQ(second.uuid, "GPU-b");
  EXPECT_EQ(second.name, "NVIDIA A10");
  EXPECT_EQ(second.memory_bytes, std::int64_t{24} << 30);
  EXPECT_EQ(second.minor, 3);
  EXPECT_FALSE(second.mig);
}

TEST_F(GpusOf, TheInstancesOfASplitGpuStandInItsPlace) {
  nvml("gpu GPU-a 0 40960 A100\nmig MIG-1 20480 A100 3g.20gb\nmig MIG-2 20480 A100 3g.20gb\ngpu GPU-b 1 40960 A100\n");
  const auto gpus = open();
  ASSERT_EQ(gpus->list().size(), 3U);
  EXPECT_EQ(gpus->list()[1].uuid, "MIG-2");
  EXPECT_TRUE(gpus->list()[1].mig);
  EXPECT_EQ(gpus->list()[1].memory_bytes, std::int64_t{20} << 30);
  EXPECT_EQ(gpus->list()[2].uuid, "GPU-b");
  EXPECT_EQ(denied_minors(gpus->list(), {1}), (std::vector<int>{1}));  // the card of both instances stays open
}

TEST_F(GpusOf, ProcessesAreReadAgainAtEachCall) {
  nvml("gpu GPU-a 0 1024 A\nprocess 42 100\nprocess 43 -1\ngpu GPU-b 1 1024 A\n");
  const auto gpus = open();
  auto found = gpus->processes().value();
  ASSERT_EQ(found.size(), 2U);
  ASSERT_EQ(found[0].size(), 2U);
  EXPECT_EQ(found[0][0].pid, 42);
  EXPECT_EQ(found[0][0].memory_bytes, std::int64_t{100} << 20);
  EXPECT_EQ(found[0][1].memory_bytes, std::nullopt);
  EXPECT_TRUE(found[1].empty());
  std::string many = "gpu GPU-a 0 1024 A\n";
  for (int pid = 1; pid <= 40; ++pid)
    many += "process " + std::to_string(pid) + " 1\n";  // more than one question's room
  nvml(many + "gpu GPU-b 1 1024 A\n");
  EXPECT_EQ(gpus->processes().value()[0].size(), 40U);
}

TEST_F(GpusOf, UseIsReadAgainAtEachCall) {
  nvml("gpu GPU-a 0 1024 A\nuse 75 256 90500\ngpu GPU-b 1 1024 A\n");
  const auto gpus = open();
  const auto used = gpus->usage();
  ASSERT_EQ(used.size(), 2U);
  EXPECT_EQ(used[0].busy_percent, 75.0);
  EXPECT_EQ(used[0].memory_bytes, std::int64_t{256} << 20);
  EXPECT_EQ(used[0].power_watts, 90.5);
  EXPECT_EQ(used[0].power_limit_watts, 400.0);
  EXPECT_EQ(used[1].busy_percent, 0.0);
  nvml(
      "gpu GPU-a 0 1024 A\nuse 5 1 1\ngpu GPU-b 1 1024 A\nfail nvmlDeviceGetUtilizationRates 3\nfail "
      "nvmlDeviceGetPowerUsage 3\n");
  const auto later = gpus->usage();
  EXPECT_EQ(later[0].busy_percent, std::nullopt);  // as a MIG instance's
  EXPECT_EQ(later[0].power_watts, std::nullopt);
  EXPECT_EQ(later[0].memory_bytes, std::int64_t{1} << 20);
}

TEST_F(GpusOf, FailuresOfTheDriverAreSaid) {
  nvml("fail nvmlInit 9\n");
  EXPECT_TRUE(open()->list().empty());
  EXPECT_EQ(open()->source(), "no NVIDIA GPU (NVML does not start: Driver Not Loaded (9))");
  nvml("gpu GPU-a 0 1024 A\nfail nvmlDeviceGetComputeRunningProcesses 999\n");
  const auto gpus = open();
  EXPECT_EQ(gpus->list().size(), 1U);
  EXPECT_EQ(gpus->processes().error().code, Code::unavailable);
  nvml("gpu GPU-a 0 1024 A\nfail nvmlDeviceGetUUID 3\nfail nvmlDeviceGetMemoryInfo 3\n");
  EXPECT_EQ(open()->list().at(0).uuid, "");
  EXPECT_EQ(open()->list().at(0).memory_bytes, 0);
}

TEST_F(GpusOf, WithoutNvmlTheDriversFilesTell) {
  write("proc/0000:81:00.0/information",
        "Model: \t\t NVIDIA A100\nIRQ:   \t\t 7\nGPU UUID: \t GPU-b\nDevice Minor: \t 1\n");
  write("proc/0000:01:00.0/information", "Model: \t\t NVIDIA A100\nGPU UUID: \t GPU-????????\nDevice Minor: \t 0\n");
  const auto gpus = open("no-such-library.so");
  ASSERT_EQ(gpus->list().size(), 2U);
  EXPECT_EQ(gpus->list()[0].uuid, "");
  EXPECT_EQ(gpus->list()[1].uuid, "GPU-b");
  EXPECT_EQ(gpus->list()[1].minor, 1);
  EXPECT_NE(gpus->source().find("no-such-library.so cannot be loaded: memory and processes of GPUs are unknown"),
            std::string::npos);
  EXPECT_FALSE(gpus->processes().has_value());
  ASSERT_EQ(gpus->usage().size(), 2U);
  EXPECT_EQ(gpus->usage()[0].memory_bytes, std::nullopt);
}

TEST_F(GpusOf, WithoutThoseTheDeviceFilesTell) {
  for (const char* name : {"dev/nvidia0", "dev/nvidia10", "dev/nvidia2", "dev/nvidiactl", "dev/nvidia-uvm", "dev/null"})
    write(name, "");
  const auto gpus = open("no-such-library.so");
  ASSERT_EQ(gpus->list().size(), 3U);
  EXPECT_EQ(gpus->list()[2].minor, 10);
}

TEST_F(GpusOf, AMachineWithoutGpusHasNone) {
  const auto gpus = open("no-such-library.so");
  EXPECT_TRUE(gpus->list().empty());
  EXPECT_EQ(gpus->processes()->size(), 0U);
}

TEST(GpuEnvironment, NamesGpusByUuidOrElseByNumberInTheOrderOfTheBus) {
  const std::vector<Gpu> known{{0, "GPU-a", "", 0, 0, false}, {1, "GPU-b", "", 0, 1, false}};
  EXPECT_EQ(gpu_environment(known, {1, 0}), (Pairs{{"CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a"}}));
  EXPECT_EQ(gpu_environment(known, {}), (Pairs{{"CUDA_VISIBLE_DEVICES", ""}}));
  const std::vector<Gpu> unknown{{0, "GPU-a", "", 0, 0, false}, {1, "", "", 0, 1, false}};
  EXPECT_EQ(gpu_environment(unknown, {0, 1}),
            (Pairs{{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"}, {"CUDA_VISIBLE_DEVICES", "0,1"}}));
}

TEST(GpuEnvironment, DeniesTheOtherCards) {
  const std::vector<Gpu> all{{0, "", "", 0, 0, false}, {1, "", "", 0, 4, false}, {2, "", "", 0, -1, false}};
  EXPECT_EQ(denied_minors(all, {1}), (std::vector<int>{0}));
  EXPECT_EQ(denied_minors(all, {}), (std::vector<int>{0, 4}));
}

}  // namespace
}  // namespace lathe::compute
