#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "environments/recipe.h"

/// Environments that are container images: an engine fetches or builds the image, once, and what jobs use of it is its
/// root file system, as a folder.
namespace lathe::environments {

struct ImageChoice {
  std::optional<Recipe> recipe;
  std::string why_not;  ///< in half a sentence, when there is no recipe
};

/// Whether a definition's `image` or `build` is taken. Errors: `invalid`, naming the field.
Result<ImageChoice> choose_image(const json::Object& definition, const Abilities& abilities);

/// "the image python:3.12"
std::string words_of_image(const Recipe& recipe);

/// Whether the container engine is podman, not apptainer: it alone builds Dockerfiles.
bool is_podman(const std::string& program);

/// An image as jobs use it.
struct Image {
  std::filesystem::path root;
  std::string shell;                                     ///< /bin/bash, or /bin/sh where there is none
  std::vector<std::pair<std::string, std::string>> env;  ///< what the image says its processes get
};

/// The image in the folder of an environment that is ready; nothing: that is none. Errors: `internal`.
Result<std::optional<Image>> image_in(const std::filesystem::path& environment);

}  // namespace lathe::environments
