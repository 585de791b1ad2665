#include "serving/captured.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <vector>

#include "assets/asset.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "serving/data_collector.h"

namespace lathe::serving {
namespace {

namespace fs = std::filesystem;

constexpr auto kArriving = ".arriving";  ///< holds NODE/DIGEST
constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kReserve = std::uint64_t{64} << 20;  ///< of the disk, as the data plane leaves it free
constexpr int kFileMode = 0644;                              // jobs read them
constexpr int kFolderMode = 0755;
constexpr std::string_view kEnd = ".jsonl";

bool has_only(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// Whether a deployment keeps, or kept, its predictions in this folder of the datastore: it is a data asset then.
Result<bool> is_collected(db::Connection& c, const std::string& folder) {
  static constexpr auto kSql = "SELECT 1 FROM asset WHERE kind = $1 AND path = $2 LIMIT 1";
  LATHE_TRY(const auto found,
            db::first(
                c, kSql, [](const db::Row& row) { return row.integer(0); }, assets::kind_name(assets::Kind::data),
                "azureml://datastores/workspaceblobstore/paths/" + folder));
  return found.has_value();
}

/// The parts of a path such as the data plane makes, from the year to the minute. Errors: `invalid`.
Result<std::vector<std::string_view>> parts_of(const CapturedPiece& piece) {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::size_t kShortest = 5;
  constexpr std::size_t kLongest = 9;
  const auto parts = split(piece.path, '/');
  const auto wrong = [&](const char* why) { return fail(Code::invalid, std::string("path: ") + why); };
  if (parts.size() < kShortest || parts.size() > kLongest || piece.path.size() > 1024)
    return wrong("must be ENDPOINT/DEPLOYMENT/COLLECTION/YYYY/MM/DD/HH/NAME.jsonl");
  for (std::size_t i = 0; i < 3; ++i)
    if (parts[i].empty() || parts[i].starts_with('.')) return wrong("has no such endpoint, deployment or collection");
  for (std::size_t i = 3; i + 1 < parts.size(); ++i)
    if (!has_only(parts[i], kDigits) || parts[i].size() > 4) return wrong("has no such time");
  auto name = parts.back();
  if (!name.ends_with(kEnd) || !has_only(name.substr(0, name.size() - kEnd.size()), kHex))
    return wrong("has no such file name");
  if (piece.sha256.size() != 64 || !has_only(piece.sha256, kHex))
    return fail(Code::invalid, "sha256: must be 64 digits, in small letters");
  if (piece.size == 0 || piece.size > kMostBytes) return fail(Code::invalid, "size: must be from 1 byte to 256 MiB");
  if (piece.offset > piece.size || piece.bytes.size() > piece.size - piece.offset)
    return fail(Code::invalid, "offset: the piece leads beyond the file's end");
  return parts;
}

void sync_folder(const fs::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

Result<void> check_room(const fs::path& folder) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0 || disk.f_bavail * disk.f_frsize >= kReserve) return {};
  return fail(Code::exhausted, "less than 64 MiB of the server's disk are free: what was captured waits");
}

bool is_whole(const fs::path& file, const CapturedPiece& piece) {
  std::error_code error;
  if (fs::file_size(file, error) != piece.size || error) return false;
  const auto digest = sha256_file(file);
  return digest && *digest == piece.sha256;
}

}  // namespace

fs::path collected_folder(const fs::path& data) {
  return data / "datastore" / "modelDataCollector";
}

Result<std::uint64_t> CapturedFiles::append(const fs::path& part, const CapturedPiece& piece) {
  const Fd fd(::open(part.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!fd) return fail(errno_error("cannot write " + part.string()));
  ::fchmod(fd.get(), kFileMode);
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail(errno_error("cannot read " + part.string()));
  auto have = static_cast<std::uint64_t>(found.st_size);
  if (have == piece.offset) {
    if (auto written = write_all(fd.get(), piece.bytes, part.string()); !written) {
      [[maybe_unused]] const auto cut = ::ftruncate(fd.get(), found.st_size);
      return fail(written.error());
    }
    have += piece.bytes.size();
  }
  if (have >= piece.size && ::fdatasync(fd.get()) != 0) return fail(errno_error("cannot sync " + part.string()));
  return have;
}

Result<std::uint64_t> CapturedFiles::take(const std::string& node, const CapturedPiece& piece) {
  LATHE_TRY(const auto parts, parts_of(piece));
  const auto collection = collection_path(std::string(parts[0]), std::string(parts[1]), std::string(parts[2]));
  LATHE_TRY(const bool known, db_.read([&](db::Connection& c) { return is_collected(c, collection); }));
  if (!known) return fail(Code::not_found, "path: nothing is captured in " + printable(collection));

  const std::lock_guard lock(mutex_);
  const auto target = folder_ / piece.path;
  const auto part = folder_ / kArriving / node / piece.sha256;
  std::error_code error;
  if (fs::exists(target, error)) {
    if (!is_whole(target, piece)) return fail(Code::conflict, "path: another file has that name");
    sync_folder(target.parent_path());  // whoever moved it may not have come to that
    return piece.size;
  }
  if (!fs::exists(part, error)) forget_locked(node);  // it sends one file at a time
  LATHE_CHECK(make_folder(part.parent_path()));
  LATHE_CHECK(check_room(part.parent_path()));
  LATHE_TRY(const auto have, append(part, piece));
  if (have < piece.size) return have;
  if (!is_whole(part, piece)) {
    log::warn("what an inference node captured came damaged, and is sent again name={} file={}", node, piece.path);
    fs::remove(part, error);
    return 0;
  }
  LATHE_CHECK(make_folder(target.parent_path(), kFolderMode));
  if (::rename(part.c_str(), target.c_str()) != 0) return fail(errno_error("cannot move " + part.string()));
  for (auto each = target.parent_path(); each != folder_; each = each.parent_path()) sync_folder(each);
  sync_folder(folder_);
  return piece.size;
}

void CapturedFiles::forget(const std::string& node) {
  const std::lock_guard lock(mutex_);
  forget_locked(node);
}

void CapturedFiles::forget_locked(const std::string& node) const {
  std::error_code ignored;
  fs::remove_all(folder_ / kArriving / node, ignored);
}

}  // namespace lathe::serving
