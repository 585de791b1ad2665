#include "assets/scan.h"

#include <algorithm>
#include <system_error>

#include "base/file.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t more = lead < 0x80 ? 0 : lead >> 5 == 0x6 ? 1 : lead >> 4 == 0xe ? 2 : lead >> 3 == 0x1e ? 3 : 4;
    if (more == 4 || i + more >= text.size()) return false;
    for (std::size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

class Scanner {
 public:
  Scanner(const IgnoreRules* rules, DigestCache& cache, Reach reach) : rules_(rules), cache_(cache), reach_(reach) {}

  Result<void> walk(const fs::path& folder, const std::string& prefix) {
    struct stat here {};
    if (::stat(folder.c_str(), &here) != 0) return fail(errno_error("cannot read " + folder.string()));
    const std::pair identity{here.st_dev, here.st_ino};
    if (std::find(above_.begin(), above_.end(), identity) != above_.end()) return {};
    above_.push_back(identity);

    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator{}; entries.increment(error))
      LATHE_CHECK(visit(*entries, prefix + entries->path().filename().string()));
    above_.pop_back();
    if (!error) return {};
    const Code code = error == std::errc::permission_denied ? Code::forbidden : Code::internal;
    return fail(code, "cannot list " + folder.string() + ": " + error.message());
  }

  Scan take() && { return std::move(out_); }
  std::vector<TreeFile> files;

 private:
  Result<void> visit(const fs::directory_entry& entry, const std::string& path) {
    if (!is_utf8(path)) return fail(Code::invalid, "the file name " + printable(path) + " is not UTF-8: rename it");
    std::error_code error;
    const bool link = entry.is_symlink(error);
    const auto status = entry.status(error);
    const bool is_folder = status.type() == fs::file_type::directory;
    if (rules_ != nullptr && rules_->ignored(path, is_folder)) return {};
    if (link && reach_ != Reach::everything)
      return fail(Code::forbidden, "\"" + path + "\" is a symbolic link, which is not taken from here");
    const auto needed = is_folder ? fs::perms::others_read | fs::perms::others_exec : fs::perms::others_read;
    if (reach_ == Reach::world_readable && (status.permissions() & needed) != needed)
      return fail(Code::forbidden, "\"" + path + "\" is not readable by everybody: only an administrator may register it");
    if (is_folder) return walk(entry.path(), path + "/");
    if (status.type() != fs::file_type::regular) {
      out_.skipped.push_back(path);
      return {};
    }
    LATHE_TRY(const auto known, cache_.digest_of(entry.path(), reach_ == Reach::everything));
    files.push_back({path, known.sha256, known.size, known.executable});
    return {};
  }

  const IgnoreRules* rules_;
  DigestCache& cache_;
  Reach reach_;
  std::vector<std::pair<dev_t, ino_t>> above_;
  Scan out_;
};

Result<Scan> scan(const fs::path& folder, const IgnoreRules* rules, DigestCache& cache, Reach reach) {
  struct stat found {};
  if (::stat(folder.c_str(), &found) != 0) return fail(errno_error("cannot read " + folder.string()));
  if (!S_ISDIR(found.st_mode)) return fail(Code::invalid, folder.string() + " is not a folder");
  Scanner scanner(rules, cache, reach);
  LATHE_CHECK(scanner.walk(folder, ""));
  cache.flush();
  LATHE_TRY(auto tree, make_tree(std::move(scanner.files)));
  auto out = std::move(scanner).take();
  out.tree = std::move(tree);
  return out;
}

}  // namespace

Result<Scan> scan_folder(const fs::path& folder, const IgnoreRules& rules, DigestCache& cache, Reach reach) {
  return scan(folder, &rules, cache, reach);
}

Result<Scan> scan_data(const fs::path& folder, DigestCache& cache, Reach reach) {
  return scan(folder, nullptr, cache, reach);
}

}  // namespace lathe::assets
