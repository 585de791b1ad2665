#include "assets/digest_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"

namespace lathe::assets {
namespace {

constexpr std::size_t kMostUnsaved = 256;
/// A file that was written this recently may be written again within the same clock tick: not remembered.
constexpr std::int64_t kSettledNs = 2'000'000'000;

const std::vector<db::Migration> kSteps = {{1, "file_digest", R"sql(
    CREATE TABLE file_digest (
      device   BIGINT NOT NULL,
      inode    BIGINT NOT NULL,
      size     BIGINT NOT NULL,
      mtime_ns BIGINT NOT NULL,
      ctime_ns BIGINT NOT NULL,
      sha256   TEXT NOT NULL,
      PRIMARY KEY (device, inode)
    ))sql"}};

std::int64_t nanos(const struct timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

bool same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         nanos(a.st_mtim) == nanos(b.st_mtim) && nanos(a.st_ctim) == nanos(b.st_ctim);
}

Result<std::string> read_digest(int fd, const std::string& name) {
  Sha256 digest;
  std::vector<char> buffer(std::size_t{1} << 18);
  for (;;) {
    const auto got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot read " + name));
    if (got == 0) return digest.finish();
    digest.update({buffer.data(), static_cast<std::size_t>(got)});
  }
}

}  // namespace

Result<std::unique_ptr<DigestCache>> DigestCache::open(const std::filesystem::path& file) {
  if (file.has_parent_path()) LATHE_CHECK(make_folder(file.parent_path()));
  LATHE_TRY(auto store, db::open_sqlite(file.string(), kSteps));
  return std::unique_ptr<DigestCache>(new DigestCache(std::move(store)));
}

DigestCache::~DigestCache() { flush(); }

Result<DigestCache::Known> DigestCache::digest_of(const std::filesystem::path& path, bool follow_link) {
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow_link ? 0 : O_NOFOLLOW))};
  if (!fd) return fail(errno_error("cannot read " + path.string()));
  struct stat before {};
  if (::fstat(fd.get(), &before) != 0) return fail(errno_error("cannot read " + path.string()));
  if (!S_ISREG(before.st_mode)) return fail(Code::invalid, path.string() + " is not a regular file");

  Known known{{}, before.st_size, (before.st_mode & S_IXUSR) != 0};
  if (auto found = find(before)) {
    known.sha256 = std::move(*found);
    return known;
  }
  LATHE_TRY(known.sha256, read_digest(fd.get(), path.string()));
  struct stat after {};
  if (::fstat(fd.get(), &after) != 0) return fail(errno_error("cannot read " + path.string()));
  if (!same(before, after))
    return fail(Code::conflict, path.string() + " changed while it was read: try again when nothing writes it");
  remember(after, known.sha256);
  return known;
}

std::optional<std::string> DigestCache::find(const struct stat& file) {
  static constexpr auto kSql = R"sql(
    SELECT sha256 FROM file_digest
     WHERE device = $1 AND inode = $2 AND size = $3 AND mtime_ns = $4 AND ctime_ns = $5)sql";
  auto found = store_->read([&](db::Connection& c) {
    return db::first(
        c, kSql, [](const db::Row& row) { return row.text(0); }, static_cast<std::int64_t>(file.st_dev),
        static_cast<std::int64_t>(file.st_ino), static_cast<std::int64_t>(file.st_size), nanos(file.st_mtim),
        nanos(file.st_ctim));
  });
  return found ? *found : std::nullopt;
}

void DigestCache::remember(const struct stat& file, const std::string& sha256) {
  if (micros(now()) * 1000 - nanos(file.st_mtim) < kSettledNs) return;
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    fresh_.push_back({file, sha256});
    full = fresh_.size() >= kMostUnsaved;
  }
  if (full) flush();
}

void DigestCache::flush() {
  static constexpr auto kSql = R"sql(
    INSERT INTO file_digest (device, inode, size, mtime_ns, ctime_ns, sha256) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (device, inode) DO UPDATE
       SET size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, sha256 = excluded.sha256)sql";
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(fresh_);
  }
  if (entries.empty()) return;
  auto kept = store_->write([&](db::Connection& c) -> Result<void> {
    for (const auto& [file, sha256] : entries)
      LATHE_CHECK(db::run(c, kSql, static_cast<std::int64_t>(file.st_dev), static_cast<std::int64_t>(file.st_ino),
                          static_cast<std::int64_t>(file.st_size), nanos(file.st_mtim), nanos(file.st_ctim), sha256));
    return {};
  });
  // Only a cache: the next scan reads these files again.
  if (!kept) log::warn("digests were not remembered: {}", kept.error().message);
}

}  // namespace lathe::assets
