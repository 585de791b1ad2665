// What our own readers of models read: whatever it says, it is a model that answers, or an error. The first byte picks
// the native form, from a file, or XGBoost's JSON. (The libraries' readers are tried in a process of their own.)
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "infer/runtimes/runtime.h"
#include "infer/runtimes/xgboost_trees.h"

namespace {

using namespace lathe;
using namespace lathe::infer;

constexpr std::size_t kMostValues = std::size_t{1} << 16;

/// Two rows of zeros.
void ask(const Model& model) {
  std::vector<Tensor> inputs;
  for (const auto& info : model.inputs()) {
    Tensor tensor{info.name, info.type, info.shape, {}, {}};
    for (auto& size : tensor.shape)
      if (size < 0) size = 2;
    const auto count = element_count(tensor.shape, kMostValues);
    if (!count) return;
    tensor.texts.resize(info.type == DataType::bytes ? *count : 0);
    tensor.data.resize(*count * size_of(info.type));
    inputs.push_back(std::move(tensor));
  }
  std::vector<std::size_t> wanted;
  for (std::size_t i = 0; i < model.outputs().size(); ++i) wanted.push_back(i);
  std::vector<Tensor> outputs;
  (void)model.run(inputs, wanted, outputs);
}

void ask(const XgboostTrees& trees) {
  if (trees.features() > kMostValues || trees.width() > kMostValues) return;
  const std::vector<float> rows(2 * trees.features());
  std::vector<float> out(2 * trees.width());
  trees.predict(rows.data(), 2, out.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    if (const auto trees = XgboostTrees::from_json(text)) ask(*trees);
    return 0;
  }
  static const auto kFile =
      std::filesystem::temp_directory_path() / ("lathe-fuzz." + std::to_string(::getpid()) + ".native.json");
  std::ofstream(kFile, std::ios::binary) << text;
  if (const auto model = load_native({kFile, {}})) ask(**model);
  return 0;
}
