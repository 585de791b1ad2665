#include "rebuild/compare.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "assets/assets.h"
#include "base/file.h"
#include "json/yaml.h"

namespace lathe::rebuild {
namespace {

constexpr std::size_t kLargestText = std::size_t{64} << 20;
constexpr const char* kSameButForRun = "same but for run and time";

std::optional<std::string> text_of(const assets::BlobStore& blobs, const assets::Tree& tree, std::string_view path) {
  for (const auto& file : tree.files) {
    if (file.path != path) continue;
    if (auto text = read_file(blobs.path_of(file.sha256), kLargestText)) return std::move(*text);
  }
  return std::nullopt;
}

/// What an MLmodel says of the model itself, in one form; nullopt when it cannot be read.
std::optional<std::string> substance(const std::optional<std::string>& mlmodel) {
  if (!mlmodel) return std::nullopt;
  auto document = json::parse_yaml(*mlmodel, "MLmodel");
  if (!document || !document->value.is_object()) return std::nullopt;
  auto& fields = document->value.get_object();
  for (const char* key : {"run_id", "model_uuid", "model_id", "utc_time_created", "artifact_path"}) fields.erase(key);
  return assets::canonical_json(document->value);
}

std::string verdict_of(const assets::BlobStore& blobs, const assets::Tree& original, const assets::Tree& rebuilt,
                       const ComparedFile& file) {
  if (!file.rebuilt) return "missing";
  if (!file.original) return "new";
  if (*file.original == *file.rebuilt) return "same";
  if (file.path != "MLmodel") return "differs";
  const auto before = substance(text_of(blobs, original, file.path));
  return before && before == substance(text_of(blobs, rebuilt, file.path)) ? kSameButForRun : "differs";
}

void compare(const json::Value& original, const json::Value& rebuilt, const std::string& at, Difference& out) {
  const auto differs = [&] {
    if (out.where.empty()) out.where = at.empty() ? "." : at;
  };
  if (original.is_number() && rebuilt.is_number()) {
    const auto a = original.to_number<double>();
    const auto b = rebuilt.to_number<double>();
    ++out.values;
    out.greatest = std::max(out.greatest, std::abs(a - b) / std::max(1.0, std::abs(a)));
  } else if (original.is_array() && rebuilt.is_array()) {
    const auto& a = original.get_array();
    const auto& b = rebuilt.get_array();
    if (a.size() != b.size()) return differs();
    for (std::size_t i = 0; i < a.size(); ++i) compare(a[i], b[i], at + "[" + std::to_string(i) + "]", out);
  } else if (original.is_object() && rebuilt.is_object()) {
    const auto& a = original.get_object();
    const auto& b = rebuilt.get_object();
    if (a.size() != b.size()) return differs();
    for (const auto& member : a) {
      const auto* other = b.if_contains(member.key());
      if (other == nullptr) return differs();
      compare(member.value(), *other, at + "." + std::string(member.key().data(), member.key().size()), out);
    }
  } else {
    ++out.values;
    if (original != rebuilt) differs();
  }
}

/// What the Open Inference Protocol answers, as {output: values}: its answers name the model and its version, too.
json::Value by_output(const json::Value& answer) {
  const auto* object = answer.if_object();
  const auto* outputs = object != nullptr ? object->if_contains("outputs") : nullptr;
  if (outputs == nullptr || !outputs->is_array()) return answer;
  json::Object out;
  for (const auto& each : outputs->get_array()) {
    const auto* output = each.if_object();
    if (output == nullptr || !output->contains("name") || !output->contains("data")) return answer;
    out[output->at("name").as_string()] = output->at("data");
  }
  return out;
}

/// An input example as MLflow keeps it, as a request; nullopt for one that is not rows.
std::optional<std::string> as_request(const json::Value& example) {
  if (example.is_array()) return json::print(json::Object{{"inputs", example}});
  if (!example.is_object()) return std::nullopt;
  const auto& object = example.get_object();
  if (object.contains("inputs")) return json::print(example);
  if (object.contains("data")) return json::print(json::Object{{"dataframe_split", example}});
  return std::nullopt;
}

}  // namespace

std::vector<ComparedFile> compare_files(const assets::BlobStore& blobs, const assets::Tree& original,
                                        const assets::Tree& rebuilt) {
  std::map<std::string, ComparedFile> files;
  for (const auto& file : original.files) files[file.path].original = file.sha256;
  for (const auto& file : rebuilt.files) files[file.path].rebuilt = file.sha256;
  std::vector<ComparedFile> out;
  for (auto& [path, file] : files) {
    file.path = path;
    file.verdict = verdict_of(blobs, original, rebuilt, file);
    out.push_back(std::move(file));
  }
  return out;
}

bool all_same(const std::vector<ComparedFile>& files) {
  return std::all_of(files.begin(), files.end(),
                     [](const ComparedFile& file) { return file.verdict == "same" || file.verdict == kSameButForRun; });
}

Difference compare_predictions(const json::Value& original, const json::Value& rebuilt) {
  Difference out;
  compare(by_output(original), by_output(rebuilt), "", out);
  return out;
}

std::optional<KeptRows> kept_rows(const assets::BlobStore& blobs, const assets::Tree& model) {
  if (auto serving = text_of(blobs, model, "serving_input_example.json"))
    return KeptRows{"input_example", {std::move(*serving), "application/json"}};
  if (const auto text = text_of(blobs, model, "input_example.json"))
    if (const auto example = json::parse(*text))
      if (auto request = as_request(*example))
        return KeptRows{"input_example", {std::move(*request), "application/json"}};
  for (const auto& file : model.files) {
    if (!file.path.ends_with(".native.json")) continue;
    const auto native = json::parse_object(text_of(blobs, model, file.path).value_or(""));
    if (!native) continue;
    const auto check = json::get_object(*native, "check");
    if (!check || *check == nullptr || !(*check)->contains("rows")) continue;
    return KeptRows{"check", {json::print(json::Object{{"inputs", (*check)->at("rows")}}), "application/json"}};
  }
  return std::nullopt;
}

}  // namespace lathe::rebuild
