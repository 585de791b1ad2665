#include "backup/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "assets/tree.h"
#include "backup/contents.h"
#include "base/file.h"
#include "base/text.h"
#include "json/yaml.h"

namespace lathe::backup {
namespace {

/// The files below a version's path, and their sizes; the path itself as "" where it is a file.
using Files = std::map<std::string, std::uint64_t>;

Result<Files> files_at(storage::Storage& artifacts, const std::string& path) {
  Files out;
  LATHE_TRY(const auto below, artifacts.files(path));
  for (const auto& file : below) out[file.path] = file.size;
  if (!out.empty()) return out;
  const auto slash = path.rfind('/');
  LATHE_TRY(const auto beside, artifacts.list(slash == std::string::npos ? "" : path.substr(0, slash)));
  const auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  for (const auto& entry : beside)
    if (!entry.folder && entry.name == name) out[""] = entry.size;
  return out;
}

std::optional<assets::Tree> known_tree(const Store& store, const std::string& digest) {
  if (digest.empty()) return std::nullopt;
  const auto text = read_file(blob_path(store.data, digest), std::size_t{1} << 30);
  if (!text) return std::nullopt;  // that the list is gone is told elsewhere, where it is needed
  const auto value = json::parse(*text);
  if (!value) return std::nullopt;
  auto tree = assets::parse_tree(*value);
  return tree ? std::optional{std::move(*tree)} : std::nullopt;
}

/// All of a small file.
Result<std::string> content_of(storage::Storage& artifacts, const std::string& path) {
  constexpr std::size_t kMost = std::size_t{4} << 20;
  LATHE_TRY(auto answer, artifacts.download(path, std::nullopt));
  std::string out = std::move(answer.body);
  while (answer.source && out.size() < kMost) {
    LATHE_TRY(const auto step, answer.source->read(out));
    if (step == http::Source::Step::end) break;
  }
  return out;
}

/// The keys of an MLmodel whose values are files or folders beside it, as MLflow's flavors write them.
bool names_a_file(std::string_view key) {
  static constexpr std::array<std::string_view, 9> kKeys = {
      "artifact_path", "code", "conda", "data", "model", "model_data", "model_path", "pickled_model", "virtualenv"};
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
}

void gather_named(const json::Value& value, std::vector<std::string>& out) {
  if (!value.is_object()) return;
  for (const auto& [key, inner] : value.get_object()) {
    if (inner.is_string() && names_a_file({key.data(), key.size()}) && !inner.get_string().empty())
      out.emplace_back(json::view(inner.get_string()));
    gather_named(inner, out);
  }
}

Result<std::vector<std::string>> named_by_mlmodel(storage::Storage& artifacts, const ModelVersion& version) {
  std::vector<std::string> out;
  const auto text = content_of(artifacts, version.path + "/MLmodel");
  if (!text) return fail(text.error());
  const auto document = json::parse_yaml(*text, "MLmodel");
  if (!document || !document->value.is_object()) return out;  // a file of this name that MLflow did not write
  for (const auto* part : {"flavors", "saved_input_example_info"})
    if (const auto* found = json::find(document->value.get_object(), part)) gather_named(*found, out);
  return out;
}

bool has(const Files& files, std::string path) {
  while (path.ends_with('/')) path.pop_back();
  if (files.contains(path)) return true;
  const auto after = files.lower_bound(path + "/");
  return after != files.end() && after->first.starts_with(path + "/");
}

}  // namespace

Result<std::vector<std::string>> missing_files(const Store& store, const ModelVersion& version) {
  const auto place = "mlflow-artifacts:/" + version.path;
  std::vector<std::string> out;
  LATHE_TRY(const auto files, files_at(store.artifacts, version.path));
  if (files.empty()) return std::vector{fmt::format("model {}: there are no files at {}", version.name, place)};
  const auto missing = [&](const std::string& file) {
    out.push_back(fmt::format("model {}: {} is missing at {}", version.name, printable(file), place));
  };
  if (const auto tree = known_tree(store, version.tree)) {
    for (const auto& file : tree->files) {
      const auto found = files.find(files.contains("") && tree->files.size() == 1 ? "" : file.path);
      if (found == files.end())
        missing(file.path);
      else if (found->second != static_cast<std::uint64_t>(file.size))
        out.push_back(fmt::format("model {}: {} at {} has {} bytes, and had {} when it was registered", version.name,
                                  printable(file.path), place, found->second, file.size));
    }
  } else if (files.contains("MLmodel")) {
    LATHE_TRY(const auto named, named_by_mlmodel(store.artifacts, version));
    for (const auto& file : named)
      if (!has(files, file)) missing(file);
  }
  return out;
}

}  // namespace lathe::backup
