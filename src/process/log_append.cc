#include "process/log_append.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "process/log_follow.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

Result<std::uint64_t> size_of(const fs::path& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) == 0) return static_cast<std::uint64_t>(found.st_size);
  if (errno == ENOENT) return std::uint64_t{0};
  return fail(errno_error("cannot read " + file.string()));
}

}  // namespace

Result<std::uint64_t> append_log(const fs::path& folder, std::uint64_t offset, std::string_view bytes,
                                 std::uint64_t cap_bytes) {
  const auto growing = folder / "log";
  LATHE_TRY(const auto aside, earlier_parts(folder));
  std::uint64_t begin = 0;
  if (!aside.empty()) {
    LATHE_TRY(const auto before, size_of(folder / ("log." + std::to_string(aside.back()))));
    begin = aside.back() + before;
  }
  LATHE_TRY(const auto size, size_of(growing));
  const auto end = begin + size;
  if (offset > end || offset + bytes.size() <= end) return end;
  bytes.remove_prefix(end - offset);
  if (size > 0 && size + bytes.size() > cap_bytes / 2) {
    std::error_code error;
    fs::rename(growing, folder / ("log." + std::to_string(begin)), error);
    if (error) return fail(Code::internal, "cannot rotate " + growing.string() + ": " + error.message());
    for (const auto old : aside) fs::remove(folder / ("log." + std::to_string(old)), error);
  }
  const Fd file{::open(growing.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot write " + growing.string()));
  LATHE_CHECK(write_all(file.get(), bytes, growing.string()));
  return end + bytes.size();
}

}  // namespace lathe::process
