#include "infer/converted.h"

#include <algorithm>
#include <set>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

/// Of what a conversion depends on: the model's files, and the Python that reads them.
std::string file_name(const DesiredModel& wanted) {
  std::string key = wanted.python->interpreter + '\n' + wanted.python->environment + '\n';
  for (const auto& file : wanted.files) key += file.path + '\n' + file.sha256 + '\n';
  return sha256_hex(key) + ".native.json";
}

std::optional<LoadedModel> load(const fs::path& folder, const DesiredModel& wanted) {
  const auto path = folder / file_name(wanted);
  auto form = wanted;
  form.format = "native";
  form.folder = folder.string();
  form.file = path.filename().string();
  form.python.reset();
  const auto digest = sha256_file(path);
  if (!digest) return std::nullopt;
  form.files = {{form.file, *digest, -1}};
  auto loaded = load_model(form);
  if (loaded) return std::move(*loaded);
  log::warn("a model stays in Python model={} version={} why=\"{}\"", wanted.name, wanted.version,
            loaded.error().message);
  std::error_code ignored;
  fs::remove(path, ignored);
  return std::nullopt;
}

}  // namespace

std::optional<LoadedModel> load_converted(const fs::path& folder, const DesiredModel& wanted) {
  std::error_code ignored;
  if (!wanted.python || wanted.format != "pyfunc" || !fs::exists(folder / file_name(wanted), ignored))
    return std::nullopt;
  // What is served has to be what was registered, also when it is not read again.
  if (!check_files(wanted)) return std::nullopt;
  return load(folder, wanted);
}

std::optional<LoadedModel> convert(const fs::path& folder, const DesiredModel& wanted, std::string_view form) {
  const auto kept = make_folder(folder).and_then([&] { return write_file(folder / file_name(wanted), form); });
  if (kept) return load(folder, wanted);
  log::warn("a model stays in Python model={} version={} why=\"{}\"", wanted.name, wanted.version,
            kept.error().message);
  return std::nullopt;
}

void forget_converted(const fs::path& folder, const DesiredState& desired) {
  std::set<std::string> wanted;
  for (const auto& endpoint : desired.endpoints)
    for (const auto& deployment : endpoint.deployments)
      if (deployment.model.python) wanted.insert(file_name(deployment.model));
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (!wanted.contains(entry.path().filename().string())) fs::remove(entry.path(), ignored);
}

}  // namespace lathe::infer
