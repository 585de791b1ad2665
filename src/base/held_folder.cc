#include "base/held_folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace lathe {

Result<Fd> open_folder(const std::filesystem::path& base, std::string_view relative) {
  const Fd folder{::open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return fail(errno_error("cannot open " + base.string()));
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const std::string name(relative);
  const auto fd = static_cast<int>(::syscall(SYS_openat2, folder.get(), name.c_str(), &how, sizeof how));
  if (fd >= 0) return Fd{fd};
  if (errno == EXDEV || errno == ELOOP) return fail(Code::invalid, "a link is in the way to the folder \"" + name + "\"");
  return fail(errno_error("cannot open " + name));
}

std::filesystem::path path_of(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

}  // namespace lathe
