#include "environments/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "assets/assets.h"
#include "base/digest.h"
#include "base/text.h"
#include "environments/images.h"
#include "json/yaml.h"

namespace lathe::environments {
namespace {

constexpr const char* kAt = "environment.conda_file";

/// Packages that conda calls otherwise than PyPI does.
const std::map<std::string, std::string, std::less<>> kOtherNames = {{"pytorch", "torch"},
                                                                     {"pytorch-cpu", "torch"},
                                                                     {"pytorch-gpu", "torch"},
                                                                     {"py-xgboost", "xgboost"},
                                                                     {"py-xgboost-cpu", "xgboost"},
                                                                     {"py-xgboost-gpu", "xgboost"},
                                                                     {"matplotlib-base", "matplotlib"},
                                                                     {"opencv", "opencv-python"},
                                                                     {"py-opencv", "opencv-python"},
                                                                     {"pytables", "tables"},
                                                                     {"msgpack-python", "msgpack"},
                                                                     {"ruamel_yaml", "ruamel.yaml"},
                                                                     {"tensorflow-gpu", "tensorflow"},
                                                                     {"python-graphviz", "graphviz"}};

/// Azure's own packages: what they do is done by the server and by the package lathe.
bool is_azures(std::string_view requirement) {
  const auto name = to_lower(std::string(requirement));
  return name.starts_with("azureml-") || name.starts_with("azureml_") || name.starts_with("azure-ai-ml") ||
         name.starts_with("inference-schema");
}

bool is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

/// A package as conda names it: "conda-forge::numpy=1.21=py38_0", "numpy >=1.2,<2", "python 3.8.*".
struct CondaPackage {
  std::string name;
  std::string version;  ///< as pip writes it: "==1.21.*"; empty: any
};

Result<CondaPackage> parse_conda(std::string_view text) {
  const auto wrong = [&] {
    return fail(Code::invalid,
                fmt::format("{}.dependencies: cannot read \"{}\": write it as NAME, NAME=VERSION or NAME>=VERSION", kAt,
                            printable(text)));
  };
  auto rest = trim(text);
  if (const auto channel = rest.find("::"); channel != std::string_view::npos) rest.remove_prefix(channel + 2);
  const auto end = std::find_if_not(rest.begin(), rest.end(), is_name_char) - rest.begin();
  CondaPackage out{to_lower(std::string(rest.substr(0, static_cast<std::size_t>(end)))), {}};
  if (out.name.empty()) return wrong();
  rest = trim(rest.substr(static_cast<std::size_t>(end)));
  if (rest.empty()) return out;
  if (rest.find_first_of("|[]\n") != std::string_view::npos) return wrong();
  if (rest.find_first_of("<>!~") == 0 || rest.starts_with("==")) {
    for (const char c : rest)
      if (c != ' ') out.version.push_back(c);
    return out;
  }
  // One version: "=1.21" and "1.21.*" mean any 1.21; what follows a second = or a blank names a build of conda's.
  if (rest.starts_with('=')) rest.remove_prefix(1);
  rest = trim(rest);
  rest = rest.substr(0, rest.find_first_of("= "));
  while (rest.ends_with('*') || rest.ends_with('.')) rest.remove_suffix(1);
  if (rest.empty()) return out;
  if (!std::all_of(rest.begin(), rest.end(), [](char c) { return is_name_char(c) || c == '+'; })) return wrong();
  out.version = fmt::format("=={}.*", rest);
  return out;
}

/// One line of a list for pip. Options are the administrator's: where packages come from is no job's business.
Result<std::string> pip_requirement(std::string_view text) {
  const auto line = trim(text.substr(0, text.find(" #")));
  const auto wrong = [&](std::string_view why) {
    return fail(Code::invalid, fmt::format("{}.dependencies.pip: \"{}\" {}", kAt, printable(line), why));
  };
  if (line.find_first_of("\n\r") != std::string_view::npos || line.find('\0') != std::string_view::npos)
    return wrong("must be one line");
  if (line.starts_with("-r") || line.starts_with("--requirement"))
    return wrong("names a file: list what it holds instead");
  if (line.starts_with('-'))
    return wrong(
        "is an option: the server's settings environment_index and environment_find_links say where packages come "
        "from");
  if (line.starts_with('.') || line.starts_with('/') || line.starts_with("file:") ||
      line.find("file://") != std::string_view::npos)
    return wrong("names a file: put it into the job's code folder, or into a folder of environment_find_links");
  return std::string(line);
}

class CondaFile {
 public:
  explicit CondaFile(const Abilities& abilities) : abilities_(abilities) {}

  Result<Recipe> read(const json::Object& file) {
    for (const auto& member : file) {
      const std::string key(member.key().data(), member.key().size());
      if (key == "variables")
        notes_.push_back("its variables are left out (give environment_variables in the job)");
      else if (key != "name" && key != "channels" && key != "dependencies" && key != "prefix")
        return fail(Code::invalid, fmt::format("{}.{}: {}", kAt, printable(key),
                                               unknown_name("field", key, {"name", "channels", "dependencies"})));
    }
    const auto* dependencies = json::find(file, "dependencies");
    if (dependencies != nullptr && !dependencies->is_null()) {
      if (!dependencies->is_array())
        return fail(Code::invalid,
                    fmt::format("{}.dependencies: must be a list, not {}", kAt, json::kind_name(*dependencies)));
      for (const auto& item : dependencies->get_array()) LATHE_CHECK(take(item));
    }
    std::sort(requirements_.begin(), requirements_.end());
    requirements_.erase(std::unique(requirements_.begin(), requirements_.end()), requirements_.end());
    return Recipe{"venv", abilities_.python, requirements_, {}};
  }

  /// What is not as the file says, in half a sentence; or nothing.
  std::string notes() const { return fmt::format("{}", fmt::join(notes_, "; ")); }

 private:
  Result<void> take(const json::Value& item) {
    if (item.is_string()) return take_conda(json::view(item.get_string()));
    const auto* object = item.if_object();
    const auto* pip = object != nullptr && object->size() == 1 ? json::find(*object, "pip") : nullptr;
    if (pip == nullptr || !(pip->is_array() || pip->is_null()))
      return fail(Code::invalid, fmt::format("{}.dependencies: an entry must be a package or a list under pip, not {}",
                                             kAt, json::print(item)));
    if (pip->is_null()) return {};
    for (const auto& line : pip->get_array()) {
      if (!line.is_string())
        return fail(Code::invalid,
                    fmt::format("{}.dependencies.pip: an entry must be a string, not {}", kAt, json::kind_name(line)));
      LATHE_TRY(auto requirement, pip_requirement(json::view(line.get_string())));
      if (requirement.empty()) continue;
      if (is_azures(requirement))
        notes_.push_back(requirement + " is left out: Lathe tracks by itself");
      else
        requirements_.push_back(std::move(requirement));
    }
    return {};
  }

  Result<void> take_conda(std::string_view text) {
    LATHE_TRY(const auto package, parse_conda(text));
    if (package.name == "python") {
      const auto ours = abilities_.python.substr(6);  // after "python"
      auto asked = package.version;
      while (asked.starts_with('=')) asked.erase(0, 1);
      while (asked.ends_with('*') || asked.ends_with('.')) asked.pop_back();
      const bool same = asked.empty() || asked == ours || (!abilities_.nodes && asked.starts_with(ours + ".")) ||
                        ours.starts_with(asked + ".");
      const auto has = abilities_.nodes ? "their own Python 3" : "Python " + ours;
      if (!same) notes_.push_back(fmt::format("{} in place of {}", has, asked));
      return {};
    }
    if (package.name == "pip" || package.name == "setuptools" || package.name == "wheel") return {};
    const auto other = kOtherNames.find(package.name);
    if (other != kOtherNames.end()) notes_.push_back(fmt::format("{} for {}", other->second, package.name));
    requirements_.push_back((other != kOtherNames.end() ? other->second : package.name) + package.version);
    return {};
  }

  const Abilities& abilities_;
  std::vector<std::string> requirements_;
  std::vector<std::string> notes_;
};

Result<json::Object> conda_object(const json::Value& value) {
  if (value.is_object()) return value.get_object();
  LATHE_TRY(const auto yaml, json::parse_yaml(std::string(json::view(value.get_string())), kAt));
  if (!yaml.value.is_object())
    return fail(Code::invalid, fmt::format("{}: is not a conda file's content: the command line puts it in place of "
                                           "the file's name, other clients do so themselves",
                                           kAt));
  return yaml.value.get_object();
}

}  // namespace

std::string Recipe::digest() const {
  return sha256_hex(assets::canonical_json(json::to_json(*this)));
}

Abilities of_nodes() {
  return {"python3", "", true, {}};
}

Result<Choice> choose(const json::Object& definition, const Abilities& abilities) {
  Choice out;
  const auto system = "/usr/bin/" + abilities.python;
  out.words = "the default environment (" + system + ")";
  const auto* conda = json::find(definition, "conda_file");
  if (definition.contains("inference_config"))
    out.report.push_back({"environment.inference_config", "ignored", "models are served by Lathe's own runtimes"});
  LATHE_TRY(auto image, choose_image(definition, abilities));
  if (image.recipe) {
    out.words = words_of_image(*image.recipe);
    out.recipe = std::move(image.recipe);
    return out;
  }
  for (const char* key : {"image", "build"})
    if (definition.contains(key))
      out.report.push_back({std::string("environment.") + key, "substituted",
                            fmt::format("by {} own system{}: {}", abilities.nodes ? "the nodes'" : "this machine's",
                                        conda != nullptr ? "" : ", " + out.words, image.why_not)});
  if (conda == nullptr) return out;
  LATHE_TRY(auto file, conda_object(*conda));
  CondaFile reader(abilities);
  LATHE_TRY(auto recipe, reader.read(file));
  if (!abilities.conda.empty()) {
    out.recipe = Recipe{"conda", {}, {}, std::move(file)};
    out.words = "an environment of conda's (" + abilities.conda + ")";
    return out;
  }
  out.words = "a virtual environment over " + system + (abilities.nodes ? " on the cluster's nodes" : "");
  const auto notes = reader.notes();
  out.report.push_back({kAt, "substituted",
                        fmt::format("by {} with pip's packages: there is no conda {}{}{}", out.words,
                                    abilities.nodes ? "there" : "here", notes.empty() ? "" : "; ", notes)});
  out.recipe = std::move(recipe);
  return out;
}

}  // namespace lathe::environments
