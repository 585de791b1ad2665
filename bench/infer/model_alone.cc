// What a model costs by itself: bench_model_alone FORMAT FILE ROWS... prints for each number of rows the CPU time and
// the time of one run on one thread, in microseconds, the median of several rounds. It is what lathe-infer is compared
// with.
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "infer/runtimes/runtime.h"

namespace lathe::infer {
namespace {

double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

std::vector<Tensor> zeros(const Model& model, std::int64_t rows) {
  std::vector<Tensor> inputs;
  for (const auto& info : model.inputs()) {
    Tensor tensor{info.name, info.type, info.shape, {}, {}};
    tensor.shape.front() = rows;
    const auto count = element_count(tensor.shape, std::size_t{1} << 30);
    tensor.data.resize(count.value_or(0) * size_of(info.type));
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

int measure(int argc, char** argv) {
  const ModelSource source{argv[2], {}};
  const std::string_view format = argv[1];
  const auto model = format == "onnx"      ? load_onnx(source)
                     : format == "xgboost" ? load_xgboost(source)
                                           : load_native(source);
  if (!model) {
    std::fprintf(stderr, "%s\n", model.error().message.c_str());
    return 1;
  }
  std::vector<std::size_t> wanted((*model)->outputs().size());
  std::iota(wanted.begin(), wanted.end(), std::size_t{0});
  std::vector<Tensor> outputs;
  for (int i = 3; i < argc; ++i) {
    const auto rows = std::atoll(argv[i]);
    const auto inputs = zeros(**model, rows);
    std::array<double, 9> cpus{};
    std::array<double, 9> times{};
    for (std::size_t round = 0; round < cpus.size(); ++round) {
      const auto begin = std::chrono::steady_clock::now();
      const auto cpu = cpu_us();
      int runs = 0;
      for (; runs < 3 || std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(250); ++runs)
        if (!(*model)->run(inputs, wanted, outputs)) return 1;
      const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
      cpus[round] = (cpu_us() - cpu) / runs;
      times[round] = took.count() / runs;
    }
    std::sort(cpus.begin(), cpus.end());
    std::sort(times.begin(), times.end());
    std::printf("%lld %.2f %.2f\n", static_cast<long long>(rows), cpus[4], times[4]);
  }
  return 0;
}

}  // namespace
}  // namespace lathe::infer

int main(int argc, char** argv) {
  if (argc >= 4) return lathe::infer::measure(argc, argv);
  std::fprintf(stderr, "usage: bench_model_alone FORMAT FILE ROWS...\n");
  return 2;
}
