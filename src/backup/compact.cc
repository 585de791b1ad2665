#include <fmt/format.h>

#include "backup/backup.h"
#include "backup/contents.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

std::uint64_t size_below(const fs::path& path) {
  std::uint64_t out = 0;
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(path, error))) return 0;
  for (fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error), end;
       !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && fs::hard_link_count(it->path(), ignored) == 1) out += it->file_size(ignored);
  }
  return out;
}

}  // namespace

Result<std::uint64_t> remove_leftovers(const Store& store) {
  LATHE_TRY(const auto contents, store.db.read([&](db::Connection& c) { return contents_of(c, store.data); }));
  std::uint64_t freed = 0;
  LATHE_TRY(const auto files, store.artifacts.files(""));
  std::set<std::string> stray;
  for (const auto& file : files) {
    const auto place = place_of(file.path);
    if (!place.empty() && contents.places.contains(place)) continue;
    stray.insert(place.empty() ? file.path : place);
    freed += file.size;
  }
  for (const auto& path : stray) LATHE_CHECK(store.artifacts.remove(path));
  std::error_code error;
  // Views are links to blobs, and are made again when they are asked for.
  for (const auto& entry : fs::directory_iterator(store.data / "trees", error))
    if (!contents.blobs.contains(entry.path().filename().string())) fs::remove_all(entry.path(), error);
  for (const auto& entry : fs::recursive_directory_iterator(store.data / "blobs" / "sha256", error)) {
    std::error_code ignored;
    if (!entry.is_regular_file(ignored) || contents.blobs.contains(entry.path().filename().string())) continue;
    if (fs::hard_link_count(entry.path(), ignored) == 1) freed += entry.file_size(ignored);
    fs::remove(entry.path(), ignored);
  }
  for (const auto& entry : fs::directory_iterator(store.data / "jobs", error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(".") || contents.jobs.contains(name)) continue;
    freed += size_below(entry.path());
    std::error_code ignored;
    fs::remove_all(entry.path(), ignored);
  }
  return freed;
}

}  // namespace lathe::backup
