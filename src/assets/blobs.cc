#include "assets/blobs.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/ids.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNamed = 5;

void sync_folder(const fs::path& folder) {
  const Fd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (fd) ::fsync(fd.get());
}

Result<void> copy_bytes(int from, int to, const std::string& name) {
  if (::ioctl(to, FICLONE, from) == 0) return {};
  for (;;) {
    const auto done = ::copy_file_range(from, nullptr, to, nullptr, std::size_t{1} << 30, 0);
    if (done == 0) return {};
    if (done > 0 || errno == EINTR) continue;
    if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
      return fail(errno_error("cannot write " + name));
    break;
  }
  std::vector<char> buffer(std::size_t{1} << 18);
  for (;;) {
    const auto got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot read " + name));
    if (got == 0) return {};
    LATHE_CHECK(write_all(to, {buffer.data(), static_cast<std::size_t>(got)}, name));
  }
}

Result<void> make_owned_folders(const fs::path& base, const fs::path& relative, const BlobStore::Owner& owner) {
  fs::path path = base;
  for (const auto& part : relative) {
    path /= part;
    if (::mkdir(path.c_str(), 0700) != 0) {
      if (errno != EEXIST) return fail(errno_error("cannot make the folder " + path.string()));
      continue;
    }
    if (::chown(path.c_str(), owner.uid, owner.gid) != 0) return fail(errno_error("cannot hand over " + path.string()));
  }
  return {};
}

}  // namespace

Result<void> copy_file(const fs::path& from, const fs::path& to, mode_t mode,
                       const std::optional<BlobStore::Owner>& owner) {
  const Fd in{::open(from.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!in) return fail(errno_error("cannot read " + from.string()));
  const Fd out{::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
  if (!out) return fail(errno_error("cannot write " + to.string()));
  LATHE_CHECK(copy_bytes(in.get(), out.get(), to.string()));
  if (::fchmod(out.get(), mode) != 0) return fail(errno_error("cannot write " + to.string()));
  if (owner && ::fchown(out.get(), owner->uid, owner->gid) != 0)
    return fail(errno_error("cannot hand over " + to.string()));
  return {};
}

Result<std::unique_ptr<BlobStore>> BlobStore::open(const fs::path& data) {
  LATHE_CHECK(make_folder(data / "blobs"));
  LATHE_CHECK(make_folder(data / "blobs" / "sha256"));
  LATHE_CHECK(make_folder(data / "trees", 0711));
  std::error_code error;
  fs::remove_all(data / "blobs" / "tmp", error);
  for (fs::directory_iterator entry(data / "trees", error); !error && entry != fs::directory_iterator{};
       entry.increment(error))
    if (entry->path().filename().string().starts_with(".")) fs::remove_all(entry->path(), error);
  LATHE_CHECK(make_folder(data / "blobs" / "tmp"));
  return std::unique_ptr<BlobStore>(new BlobStore(data));
}

fs::path BlobStore::path_of(const std::string& sha256) const {
  return data_ / "blobs" / "sha256" / sha256.substr(0, 2) / sha256;
}

bool BlobStore::has(const std::string& sha256) const {
  return is_digest(sha256) && ::access(path_of(sha256).c_str(), F_OK) == 0;
}

std::vector<std::string> BlobStore::missing(const std::vector<std::string>& digests) const {
  std::vector<std::string> out;
  for (const auto& digest : digests)
    if (!has(digest)) out.push_back(digest);
  return out;
}

BlobStore::Writer::Writer(const BlobStore& store, fs::path file, Fd fd)
    : store_(&store), file_(std::move(file)), fd_(std::move(fd)) {}

BlobStore::Writer::Writer(Writer&& other) noexcept
    : store_(other.store_), file_(std::exchange(other.file_, {})), fd_(std::move(other.fd_)),
      digest_(std::move(other.digest_)) {}

BlobStore::Writer::~Writer() {
  if (!file_.empty()) ::unlink(file_.c_str());
}

Result<void> BlobStore::Writer::write(std::string_view piece) {
  digest_.update(piece);
  return write_all(fd_.get(), piece, "the upload");
}

Result<std::string> BlobStore::Writer::finish(const std::optional<std::string>& expected) {
  auto digest = digest_.finish();
  if (expected && *expected != digest)
    return fail(Code::invalid, "the content's SHA-256 is " + digest + ", not " + *expected + ": send it again");
  if (::fchmod(fd_.get(), 0444) != 0 || ::fsync(fd_.get()) != 0) return fail(errno_error("cannot write the upload"));
  LATHE_CHECK(store_->keep(file_, digest));
  return digest;
}

Result<BlobStore::Writer> BlobStore::start() const {
  auto file = data_ / "blobs" / "tmp" / random_hex(12);
  Fd fd{::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!fd) return fail(errno_error("cannot write " + file.string()));
  return Writer(*this, std::move(file), std::move(fd));
}

Result<void> BlobStore::keep(const fs::path& file, const std::string& sha256) const {
  if (has(sha256)) return {};
  const auto to = path_of(sha256);
  const bool new_folder = !fs::exists(to.parent_path());
  LATHE_CHECK(make_folder(to.parent_path()));
  // A link, not a rename: the Writer removes its own name in every case.
  if (::link(file.c_str(), to.c_str()) != 0 && errno != EEXIST) return fail(errno_error("cannot write " + to.string()));
  sync_folder(to.parent_path());
  if (new_folder) sync_folder(to.parent_path().parent_path());
  return {};
}

Result<std::string> BlobStore::put(std::string_view bytes) const {
  auto digest = sha256_hex(bytes);
  if (has(digest)) return digest;
  LATHE_TRY(auto writer, start());
  LATHE_CHECK(writer.write(bytes));
  return writer.finish();
}

Result<std::string> BlobStore::put_tree(const Tree& tree) const {
  std::string absent;
  std::size_t count = 0;
  for (const auto& file : tree.files) {
    struct stat blob {};
    if (::stat(path_of(file.sha256).c_str(), &blob) != 0) {
      if (++count <= kMostNamed) absent += (count == 1 ? "" : ", ") + file.path;
    } else if (blob.st_size != file.size) {
      return fail(Code::invalid, "files: \"" + file.path + "\" has " + std::to_string(blob.st_size) + " bytes, not " +
                                     std::to_string(file.size));
    }
  }
  if (count > 0)
    return fail(Code::conflict, std::to_string(count) + " files were not uploaded yet: " + absent +
                                    (count > kMostNamed ? ", ..." : "") + "; PUT their blobs first");
  return put(tree.canonical());
}

Result<Tree> BlobStore::tree(const std::string& digest) const {
  if (!has(digest)) return fail(Code::not_found, "no folder with the digest \"" + digest + "\" is stored here");
  LATHE_TRY(const auto text, read_file(path_of(digest), std::size_t{1} << 30));
  const auto value = json::parse(text);
  if (!value || !value->is_array()) return fail(Code::invalid, digest + " is a file's digest, not a folder's");
  return parse_tree(*value);
}

Result<std::string> BlobStore::take_folder(const fs::path& folder, const Tree& tree, bool link) const {
  for (const auto& file : tree.files) {
    if (has(file.sha256)) continue;
    LATHE_TRY(const auto fd, open_beneath(folder, file.path, O_RDONLY));
    if (link && ::fchmod(fd.get(), 0444) == 0 && keep(folder / file.path, file.sha256)) continue;
    LATHE_TRY(auto writer, start());
    std::vector<char> buffer(std::size_t{1} << 18);
    for (;;) {
      const auto got = ::read(fd.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail(errno_error("cannot read " + file.path));
      if (got == 0) break;
      LATHE_CHECK(writer.write({buffer.data(), static_cast<std::size_t>(got)}));
    }
    auto kept = writer.finish(file.sha256);
    if (!kept) return fail(Code::conflict, file.path + " changed while it was read: try again when nothing writes it");
  }
  return put_tree(tree);
}

Result<void> BlobStore::lay_out(const Tree& tree, const fs::path& folder) const {
  LATHE_CHECK(make_folder(folder, 0755));
  for (const auto& file : tree.files) {
    const auto to = folder / file.path;
    LATHE_CHECK(make_folder(to.parent_path(), 0755));
    // The mode belongs to the file, not to the link: what must be executable is a copy.
    if (!file.executable && ::link(path_of(file.sha256).c_str(), to.c_str()) == 0) continue;
    LATHE_CHECK(copy_file(path_of(file.sha256), to, file.executable ? 0555 : 0444));
    const Fd fd{::open(to.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd || ::fsync(fd.get()) != 0) return fail(errno_error("cannot write " + to.string()));
  }
  return {};
}

Result<fs::path> BlobStore::view(const std::string& digest) const {
  const auto folder = data_ / "trees" / digest;
  if (is_digest(digest) && fs::is_directory(folder)) return folder;
  LATHE_TRY(const auto files, tree(digest));
  const auto beside = data_ / "trees" / ("." + digest + "." + random_hex(6));
  auto made = lay_out(files, beside);
  // Two callers may race: the first rename wins, and both views are the same.
  if (made && ::rename(beside.c_str(), folder.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
    made = fail(errno_error("cannot make " + folder.string()));
  std::error_code ignored;
  fs::remove_all(beside, ignored);
  if (!made) return fail(made.error());
  return folder;
}

Result<void> BlobStore::copy_out(const std::string& digest, const fs::path& folder,
                                 const std::optional<Owner>& owner) const {
  LATHE_TRY(const auto files, tree(digest));
  LATHE_CHECK(make_folder(folder));
  const Owner whose = owner.value_or(Owner{::geteuid(), ::getegid()});
  if (owner && ::chown(folder.c_str(), whose.uid, whose.gid) != 0)
    return fail(errno_error("cannot hand over " + folder.string()));
  for (const auto& file : files.files) {
    const fs::path relative(file.path);
    LATHE_CHECK(make_owned_folders(folder, relative.parent_path(), whose));
    LATHE_CHECK(copy_file(path_of(file.sha256), folder / relative, file.executable ? 0755 : 0644, owner));
  }
  return {};
}

}  // namespace lathe::assets
