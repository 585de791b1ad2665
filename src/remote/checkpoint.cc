#include "remote/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "shim/text.h"

namespace lathe::remote {
namespace {

constexpr std::int64_t kQuietNs = 1'000'000'000;

}  // namespace

Version version_of(const struct stat& found) {
  return {static_cast<std::uint64_t>(found.st_size), found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec,
          found.st_ino};
}

/// Regular files alone, and never through a link: what it leads to is not the job's to keep.
void Checkpoint::find(const std::string& folder, const std::string& below, Files& out) {
  const int fd = ::open((folder + "/" + below).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* list = fd < 0 ? nullptr : ::fdopendir(fd);
  if (list == nullptr) return;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    struct stat found {};
    if (name == "." || name == ".." || name.find('\n') != std::string::npos ||
        ::fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    if (S_ISDIR(found.st_mode)) find(folder, below + name + "/", out);
    if (S_ISREG(found.st_mode)) out[below + name] = version_of(found);
  }
  ::closedir(list);
}

void Checkpoint::begin() {
  there_.clear();
  find(folder_, "", there_);
}

void Checkpoint::look(bool all) {
  if (!all && !changes_.empty()) return;  // first what the last look found
  Files here;
  find(folder_, "", here);
  changes_.clear();
  // `next` takes from the end. What is gone goes last, when what took its place is there.
  for (const auto& [path, version] : there_)
    if (here.find(path) == here.end()) changes_.push_back({path, std::nullopt});
  const auto quiet_since = shim::wall_us() * 1000 - kQuietNs;
  for (const auto& [path, version] : here) {
    const auto known = there_.find(path);
    if (known != there_.end() && known->second == version) continue;
    if (all || version.changed_ns < quiet_since) changes_.push_back({path, version});
  }
}

std::optional<Checkpoint::Change> Checkpoint::next() {
  if (changes_.empty()) return std::nullopt;
  auto change = std::move(changes_.back());
  changes_.pop_back();
  return change;
}

void Checkpoint::settle(const Change& change) {
  if (change.version)
    there_[change.path] = *change.version;
  else
    there_.erase(change.path);
}

}  // namespace lathe::remote
