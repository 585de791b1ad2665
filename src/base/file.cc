#include "base/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/ids.h"

namespace lathe {

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

int Fd::release() { return std::exchange(fd_, -1); }

Error errno_error(const std::string& what) {
  const int error = errno;
  Code code = Code::internal;
  if (error == ENOSPC || error == EDQUOT) code = Code::exhausted;
  if (error == ENOENT || error == ENOTDIR) code = Code::not_found;
  if (error == EACCES || error == EPERM || error == EROFS) code = Code::forbidden;
  return {code, what + ": " + std::strerror(error), {}};
}

Result<void> write_all(int fd, std::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    const auto done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail(errno_error("cannot write " + name));
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  return {};
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit_bytes) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return fail(errno_error("cannot read " + path.string()));
  std::string out;
  char buffer[1 << 16];
  for (;;) {
    const auto got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot read " + path.string()));
    if (got == 0) return out;
    out.append(buffer, static_cast<std::size_t>(got));
    if (out.size() > limit_bytes)
      return fail(Code::exhausted, path.string() + " is larger than " + std::to_string(limit_bytes) + " bytes");
  }
}

Result<void> write_file(const std::filesystem::path& path, std::string_view content, int mode) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path{"."};
  const auto beside = folder / ("." + path.filename().string() + "." + random_hex(6));
  Fd file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, static_cast<mode_t>(mode))};
  if (!file) return fail(errno_error("cannot write " + path.string()));
  auto written = write_all(file.get(), content, path.string());
  if (written && ::fsync(file.get()) != 0) written = fail(errno_error("cannot write " + path.string()));
  if (written && ::rename(beside.c_str(), path.c_str()) != 0)
    written = fail(errno_error("cannot write " + path.string()));
  if (!written) {
    ::unlink(beside.c_str());
    return written;
  }
  const Fd holder{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (holder) ::fsync(holder.get());
  return {};
}

Result<void> make_folder(const std::filesystem::path& path, int mode) {
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0) {
    if (S_ISDIR(found.st_mode)) return {};
    return fail(Code::conflict, path.string() + " exists and is not a folder");
  }
  if (path.has_parent_path() && path.parent_path() != path) LATHE_CHECK(make_folder(path.parent_path(), mode | 0055));
  if (::mkdir(path.c_str(), static_cast<mode_t>(mode)) != 0 && errno != EEXIST)
    return fail(errno_error("cannot make the folder " + path.string()));
  return {};
}

Result<Fd> open_beneath(const std::filesystem::path& base, std::string_view relative, int flags, int mode) {
  if (relative.find('\0') != std::string_view::npos) return fail(Code::invalid, "a path must not hold a NUL byte");
  const Fd folder{::open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return fail(errno_error("cannot open " + base.string()));
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & O_CREAT) != 0 ? static_cast<std::uint64_t>(mode) : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const std::string name = relative.empty() ? "." : std::string(relative);
  const auto fd = static_cast<int>(::syscall(SYS_openat2, folder.get(), name.c_str(), &how, sizeof how));
  if (fd >= 0) return Fd{fd};
  if (errno == EXDEV || errno == ELOOP) return fail(Code::invalid, "the path \"" + name + "\" leads outside its folder");
  return fail(errno_error("cannot open " + name));
}

}  // namespace lathe
