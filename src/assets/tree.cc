#include "assets/tree.h"

#include <algorithm>

#include "base/digest.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

Result<void> check_path(const std::string& path) {
  const auto wrong = [&](const std::string& why) {
    return fail(Code::invalid, "files: the path \"" + printable(path) + "\" " + why);
  };
  if (path.empty()) return wrong("is empty");
  if (path.size() > 4096) return wrong("is longer than 4096 bytes");
  if (path.find('\0') != std::string::npos) return wrong("holds a NUL byte");
  for (const auto part : split(path, '/')) {
    if (part.empty()) return wrong("is not relative, or has an empty part");
    if (part == "." || part == "..") return wrong("must not hold \".\" or \"..\"");
    if (part.size() > 255) return wrong("has a part longer than 255 bytes");
  }
  return {};
}

}  // namespace

bool is_digest(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::int64_t Tree::size_bytes() const {
  std::int64_t sum = 0;
  for (const auto& file : files) sum += file.size;
  return sum;
}

std::string Tree::canonical() const { return json::print(json::to_json(files)); }

std::string Tree::digest() const { return sha256_hex(canonical()); }

Result<Tree> make_tree(std::vector<TreeFile> files) {
  for (const auto& file : files) {
    LATHE_CHECK(check_path(file.path));
    if (!is_digest(file.sha256))
      return fail(Code::invalid, "files: the sha256 of \"" + printable(file.path) + "\" is not 64 lower-case hex digits");
    if (file.size < 0) return fail(Code::invalid, "files: the size of \"" + printable(file.path) + "\" is negative");
  }
  std::sort(files.begin(), files.end(), [](const TreeFile& a, const TreeFile& b) { return a.path < b.path; });
  const auto named = [](const TreeFile& file, const std::string& path) { return file.path < path; };
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (i > 0 && files[i].path == files[i - 1].path)
      return fail(Code::invalid, "files: \"" + printable(files[i].path) + "\" is listed twice");
    for (auto slash = files[i].path.find('/'); slash != std::string::npos; slash = files[i].path.find('/', slash + 1)) {
      const auto parent = files[i].path.substr(0, slash);
      const auto found = std::lower_bound(files.begin(), files.end(), parent, named);
      if (found != files.end() && found->path == parent)
        return fail(Code::invalid, "files: \"" + printable(parent) + "\" is a file and a folder at once");
    }
  }
  return Tree{std::move(files)};
}

Result<Tree> parse_tree(const json::Value& value) {
  if (value.is_array()) {
    LATHE_TRY(auto files, json::from_json<std::vector<TreeFile>>(value, "files"));
    return make_tree(std::move(files));
  }
  LATHE_TRY(auto tree, json::from_json<Tree>(value));
  return make_tree(std::move(tree.files));
}

}  // namespace lathe::assets
