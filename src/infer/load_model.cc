#include "infer/load_model.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/digest.h"
#include "base/log.h"
#include "infer/try_model.h"
#include "infer/warm_up.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

/// The path below the model's folder. Errors: `invalid` when it leads out of it.
Result<fs::path> below(const DesiredModel& wanted, const std::string& path) {
  const auto relative = fs::path(path).lexically_normal();
  if (path.empty() || relative.is_absolute() || *relative.begin() == "..")
    return fail(Code::invalid, "the model's file " + path + " lies outside its folder");
  return fs::path(wanted.folder) / relative;
}

Result<void> check_file(const DesiredModel& wanted, const DesiredFile& file) {
  LATHE_TRY(const auto path, below(wanted, file.path));
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error)
    return fail(Code::invalid, "the model's file " + path.string() + " cannot be read: " + error.message() +
                                   "; register the model again");
  const bool right_size = file.size < 0 || static_cast<std::int64_t>(size) == file.size;
  std::string digest;
  if (right_size) {
    LATHE_TRY(digest, sha256_file(path));
  }
  if (!right_size || digest != file.sha256)
    return fail(Code::invalid,
                "the model's file " + path.string() +
                    " is not the one that was registered (its SHA-256 differs); register the model again");
  return {};
}

/// Zeros of the smallest shape that the model takes.
std::vector<Tensor> zero_inputs(const Model& model) {
  std::vector<Tensor> inputs;
  for (const auto& info : model.inputs()) {
    Tensor tensor{info.name, info.type, info.shape, {}, {}};
    std::size_t count = 1;
    for (auto& size : tensor.shape) {
      size = std::max<std::int64_t>(size, 1);
      count *= static_cast<std::size_t>(size);
    }
    if (info.type == DataType::bytes)
      tensor.texts.resize(count);
    else
      tensor.data.resize(count * size_of(info.type));
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

/// The second of two runs: the first one allocates. A model may refuse zeros; that alone is no failure.
std::chrono::nanoseconds warm(const Model& model) {
  const auto inputs = zero_inputs(model);
  const std::vector<std::size_t> wanted{0};
  std::vector<Tensor> outputs;
  std::chrono::nanoseconds took{};
  for (int i = 0; i < 2; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (const auto ran = model.run(inputs, wanted, outputs); !ran)
      log::info("a model refuses zeros while it is warmed reason=\"{}\"", ran.error().message);
    took = std::chrono::steady_clock::now() - begin;
  }
  return took;
}

Result<std::unique_ptr<Model>> read_model(const DesiredModel& wanted, const ModelSource& source) {
  if (wanted.format == "xgboost") return load_xgboost(source);
  if (wanted.format == "onnx") return load_onnx(source);
  if (wanted.format == "native") return load_native(source);
  return fail(Code::invalid,
              "models of the format \"" + wanted.format + "\" cannot be served; expected xgboost, onnx or native");
}

}  // namespace

void try_model(const std::string& format, const std::filesystem::path& file) {
  DesiredModel wanted;
  wanted.format = format;
  try {
    if (const auto model = read_model(wanted, {file, {}})) warm(**model);
  } catch (const std::exception& why) {
    log::debug("a model cannot be read what={}", why.what());
  }
}

Result<void> check_files(const DesiredModel& wanted) {
  for (const auto& file : wanted.files) LATHE_CHECK(check_file(wanted, file));
  return {};
}

std::string stamp_of(const DesiredModel& wanted) {
  std::string out;
  const auto add = [&out](auto... numbers) { ((out += std::to_string(numbers) + ' '), ...); };
  for (const auto& file : wanted.files) {
    const auto path = below(wanted, file.path);
    struct stat found {};
    if (path && ::stat(path->c_str(), &found) == 0)
      add(found.st_dev, found.st_ino, found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec, found.st_ctim.tv_sec,
          found.st_ctim.tv_nsec);
    out += ';';
  }
  return out;
}

std::int64_t bytes_of(const DesiredModel& wanted) {
  std::int64_t out = 0;
  for (const auto& file : wanted.files) {
    const auto path = below(wanted, file.path);
    std::error_code error;
    const auto size = path ? fs::file_size(*path, error) : 0;
    if (!error && (file.path == wanted.file || wanted.format == "onnx")) out += static_cast<std::int64_t>(size);
  }
  return out;
}

Result<LoadedModel> load_model(const DesiredModel& wanted, const std::string& right_at) {
  const auto is_main = [&](const DesiredFile& file) { return file.path == wanted.file; };
  if (std::none_of(wanted.files.begin(), wanted.files.end(), is_main))
    return fail(Code::invalid, "the model's file \"" + wanted.file + "\" is not among those with a digest");
  if (!wanted.config_error.empty()) return fail(Code::invalid, wanted.config_error);
  auto stamp = stamp_of(wanted);
  const bool known = !right_at.empty() && stamp == right_at;
  if (!known) LATHE_CHECK(check_files(wanted));
  LATHE_TRY(const auto file, below(wanted, wanted.file));
  if (!known) LATHE_CHECK(try_apart(wanted.format, file));
  try {
    LATHE_TRY(auto model, read_model(wanted, {file, wanted.feature_names}));
    const auto took = warm(*model);
    if (wanted.config) LATHE_CHECK(warm_up(*model, *wanted.config));
    return LoadedModel{std::move(model), took, std::move(stamp), bytes_of(wanted)};
  } catch (const std::exception& error) {
    return fail(Code::invalid, std::string("the model cannot be loaded: ") + error.what());
  }
}

}  // namespace lathe::infer
