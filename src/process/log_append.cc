#include "process/log_append.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "base/file.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

/// The offsets N of the files "log.N", in order.
std::vector<std::uint64_t> parts_aside(const fs::path& folder) {
  std::vector<std::uint64_t> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    std::uint64_t begin = 0;
    if (!name.starts_with("log.")) continue;
    const auto [rest, wrong] = std::from_chars(name.data() + 4, name.data() + name.size(), begin);
    if (wrong == std::errc{} && rest == name.data() + name.size()) out.push_back(begin);
  }
  std::sort(out.begin(), out.end());
  return out;
}

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
  const auto aside = parts_aside(folder);
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
