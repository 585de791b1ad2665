#include "environments/images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "assets/assets.h"
#include "base/file.h"
#include "base/text.h"

namespace lathe::environments {
namespace {

namespace fs = std::filesystem;

bool is_reference_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("._-/:@+").find(c) != std::string_view::npos;
}

/// Other transports than a registry's would read files of this machine.
Result<std::string> read_reference(std::string_view text) {
  constexpr std::string_view kRegistry = "docker://";
  auto rest = trim(text);
  if (rest.starts_with(kRegistry)) rest.remove_prefix(kRegistry.size());
  const bool plain = !rest.empty() && std::isalnum(static_cast<unsigned char>(rest.front())) != 0 &&
                     std::all_of(rest.begin(), rest.end(), is_reference_char);
  if (!plain || rest.find("//") != std::string_view::npos || rest.find(":/") != std::string_view::npos)
    return fail(Code::invalid,
                fmt::format("environment.image: \"{}\" names no image in a registry: write it as NAME:TAG, "
                            "HOST/NAME:TAG or NAME@sha256:DIGEST",
                            printable(text)));
  return std::string(rest);
}

Result<std::string> read_dockerfile(const json::Object& build) {
  constexpr const char* kAt = "environment.build";
  for (const auto& member : build) {
    const std::string key(member.key().data(), member.key().size());
    if (key != "path" && key != "dockerfile_path")
      return fail(Code::invalid, fmt::format("{}.{}: {}", kAt, printable(key),
                                             unknown_name("field", key, {"path", "dockerfile_path"})));
  }
  auto given = json::get_string(build, "dockerfile_path");
  if (!given) return fail(Code::invalid, fmt::format("{}.dockerfile_path: must be a string", kAt));
  const auto path = fs::path(given->value_or("Dockerfile")).lexically_normal();
  if (path.empty() || path.is_absolute() || *path.begin() == ".." || !path.has_filename())
    return fail(Code::invalid,
                fmt::format("{}.dockerfile_path: \"{}\" must be a file's path within the folder of build.path", kAt,
                            printable(path.string())));
  return path.string();
}

}  // namespace

bool is_podman(const std::string& program) {
  return fs::path(program).filename() == "podman";
}

Result<ImageChoice> choose_image(const json::Object& definition, const Abilities& abilities) {
  const auto* build = json::find(definition, "build");
  const auto* image = json::find(definition, "image");
  if (abilities.images.empty()) return ImageChoice{{}, "no container engine is used"};
  if (definition.contains("conda_file"))
    return ImageChoice{{}, "what its conda_file names is made here, without an image"};
  if (build == nullptr && image == nullptr) return ImageChoice{};
  Recipe recipe;
  if (image != nullptr) {
    recipe.manager = "image";
    LATHE_TRY(recipe.image, read_reference(json::view(image->get_string())));
    return ImageChoice{std::move(recipe), {}};
  }
  if (!is_podman(abilities.images)) return ImageChoice{{}, "only podman builds Dockerfiles"};
  recipe.manager = "build";
  LATHE_TRY(recipe.dockerfile, read_dockerfile(build->get_object()));
  LATHE_TRY(const auto path, json::need_string(build->get_object(), "path"));
  constexpr std::string_view kTree = "tree:";
  if (!path.starts_with(kTree) || !assets::is_digest(path.substr(kTree.size())))
    return fail(Code::invalid, fmt::format("environment.build.path: \"{}\" must be a folder, or one that was uploaded: "
                                           "tree:DIGEST",
                                           printable(path)));
  recipe.context = path.substr(kTree.size());
  return ImageChoice{std::move(recipe), {}};
}

std::string words_of_image(const Recipe& recipe) {
  if (recipe.manager == "image") return "the image " + recipe.image.value_or("");
  return fmt::format("an image built from {} in the folder {}", recipe.dockerfile.value_or(""),
                     recipe.context.value_or("").substr(0, 12));
}

Result<std::optional<Image>> image_in(const fs::path& environment) {
  // What a Dockerfile runs might have left links in the way.
  const auto file = open_beneath(environment, "image.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file && file.error().code == Code::not_found) return std::nullopt;
  if (!file) return fail(file.error());
  std::string text(std::size_t{1} << 20, '\0');
  const auto got = ::read(file->get(), text.data(), text.size());
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  LATHE_TRY(const auto facts, json::parse_object(text));
  Image out;
  out.root = environment / "root";
  struct stat root {};
  if (::lstat(out.root.c_str(), &root) != 0 || !S_ISDIR(root.st_mode))
    return fail(Code::internal, out.root.string() + " is no folder: delete the environment, so that it is built again");
  LATHE_TRY(out.shell, json::need_string(facts, "shell"));
  LATHE_TRY(const auto* env, json::get_object(facts, "env"));
  if (env != nullptr)
    for (const auto& member : *env)
      if (member.value().is_string())
        out.env.emplace_back(std::string(member.key().data(), member.key().size()),
                             std::string(json::view(member.value().get_string())));
  return out;
}

}  // namespace lathe::environments
