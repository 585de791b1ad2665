#include "environments/hand_over.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

namespace lathe::environments {
namespace {

namespace fs = std::filesystem;

Result<std::int64_t> take_one(const fs::path& path, std::optional<std::uint32_t> account) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return fail(errno_error("cannot look at " + path.string()));
  // A link to another's file must not win the rights that are given below.
  if (account && found.st_uid != *account)
    return fail(Code::invalid, "the build left " + path.string() + ", which is another account's");
  if (account && ::lchown(path.c_str(), 0, 0) != 0) return fail(errno_error("cannot take " + path.string()));
  if (S_ISLNK(found.st_mode)) return 0;
  if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode))
    return fail(Code::invalid, "the build left " + path.string() + ", which is no file");
  const mode_t mode = S_ISDIR(found.st_mode) || (found.st_mode & S_IXUSR) != 0 ? 0755 : 0644;
  if (::chmod(path.c_str(), mode) != 0) return fail(errno_error("cannot change " + path.string()));
  return S_ISREG(found.st_mode) ? static_cast<std::int64_t>(found.st_size) : 0;
}

}  // namespace

Result<std::int64_t> hand_over(const fs::path& folder, std::optional<std::uint32_t> account) {
  LATHE_TRY(auto size, take_one(folder, account));
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    LATHE_TRY(const auto more, take_one(it->path(), account));
    size += more;
  }
  if (error) return fail(Code::internal, "cannot read " + folder.string() + ": " + error.message());
  const Fd held{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!held || ::syncfs(held.get()) != 0) return fail(errno_error("cannot write " + folder.string()));
  return size;
}

}  // namespace lathe::environments
