#include "infer/cluster/captured.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::chrono::minutes kOfferAgain{10};

/// Those that get no more lines, in an order that stays.
std::vector<fs::path> closed_files(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error); !error && at != fs::recursive_directory_iterator{};
       at.increment(error)) {
    const auto name = at->path().filename().string();
    std::error_code ignored;
    if (name.starts_with('.'))
      at.disable_recursion_pending();  // they are being written
    else if (name.ends_with(".jsonl") && at->is_regular_file(ignored))
      out.push_back(at->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Result<void> HandOver::run(const std::function<bool()>& stop) {
  std::erase_if(refused_, [](const auto& each) { return each.second <= Clock::now(); });
  for (const auto& path : closed_files(folder_)) {
    if (stop()) return {};
    if (refused_.contains(path)) continue;
    const auto done = hand_over(path, stop);
    if (done) continue;
    if (done.error().code != Code::invalid) return done;
    log::error("the server does not take what was captured, which stays here file={} error=\"{}\"", path.string(),
               done.error().message);
    refused_[path] = Clock::now() + kOfferAgain;
  }
  return {};
}

Result<void> HandOver::hand_over(const fs::path& path, const std::function<bool()>& stop) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail(errno_error("cannot read " + path.string()));
  LATHE_TRY(const auto sha256, sha256_file(path));
  const auto end = ::lseek(fd.get(), 0, SEEK_END);
  const CapturedFile file{path.lexically_relative(folder_).string(), sha256, static_cast<std::uint64_t>(end)};
  if (end <= 0) {
    remove(path);
    return {};
  }
  std::string piece;
  std::uint64_t at = 0;
  bool went_back = false;
  while (!stop()) {
    piece.resize(std::min<std::uint64_t>(kPiece, file.size - at));
    if (::pread(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(piece.size()))
      return fail(errno_error("cannot read " + path.string()));
    LATHE_TRY(const auto have, send_(file, at, piece));
    if (have == file.size) {
      remove(path);
      return {};
    }
    if (have > file.size || (have <= at && std::exchange(went_back, true)))
      return fail(Code::unavailable, "what was captured does not come whole to the server: it is sent again");
    at = have;
  }
  return {};
}

void HandOver::remove(const fs::path& path) const {
  ::unlink(path.c_str());
  // Folders that are empty now; the capture makes them again where it needs them.
  for (auto each = path.parent_path(); each != folder_ && ::rmdir(each.c_str()) == 0;) each = each.parent_path();
}

}  // namespace lathe::infer
