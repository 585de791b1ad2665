#pragma once

#include <optional>
#include <string>
#include <vector>

#include "json/fields.h"
#include "json/report.h"

namespace lathe::environments {

/// What is built, and nothing else: two definitions with the same recipe share a folder. Kept with the jobs that use
/// it.
struct Recipe {
  std::string manager;                         ///< venv, conda, image, build
  std::string python;                          ///< venv: the name of the system's Python, "python3.11"
  std::vector<std::string> requirements;       ///< venv: as pip reads them
  std::optional<json::Value> file;             ///< conda: the file's content
  std::optional<std::string> image = {};       ///< image: as registries name it
  std::optional<std::string> context = {};     ///< build: digest of the folder's tree
  std::optional<std::string> dockerfile = {};  ///< build: its path within

  bool is_image() const { return manager == "image" || manager == "build"; }
  /// SHA-256: the name of its folder.
  std::string digest() const;
};

/// What this machine can make.
struct Abilities {
  std::string python = "python3";  ///< the system's, by its versioned name
  std::string conda;               ///< the program micromamba, mamba or conda; empty: none
  bool nodes = false;              ///< it is a cluster's nodes, not this machine
  std::string images = {};         ///< the program podman or apptainer; empty: none, images are substituted
};

/// What a cluster's nodes can make: venvs over a Python whose version is not known here.
Abilities of_nodes();

/// How a definition (as the assets keep it) is honoured here.
struct Choice {
  std::optional<Recipe> recipe;  ///< absent: the default environment
  std::string words;             ///< "a virtual environment over /usr/bin/python3.11"
  json::Report report;           ///< fields begin with "environment."
};

/// Errors: `invalid`, naming the field: what neither pip nor conda could read, or no container engine.
Result<Choice> choose(const json::Object& definition, const Abilities& abilities);

}  // namespace lathe::environments

namespace lathe::json {

template <>
struct Fields<environments::Recipe> {
  static constexpr std::string_view name = "EnvironmentRecipe";
  using T = environments::Recipe;
  static constexpr auto list =
      std::tuple{field("manager", &T::manager, "venv, conda, image or build"),
                 field("python", &T::python, "what a venv lies over"),
                 field("requirements", &T::requirements, "for pip"),
                 field("file", &T::file, "for conda: its file's content"),
                 field("image", &T::image, "as registries name it"),
                 field("context", &T::context, "for build: digest of the folder that the image is built from"),
                 field("dockerfile", &T::dockerfile, "for build: its path within")};
};

}  // namespace lathe::json
