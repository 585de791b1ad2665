#include "storage/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"
#include "http/file_response.h"
#include "storage/path.h"

namespace lathe::storage {
namespace {

constexpr std::string_view kUploads = ".uploads";  // beside the artifacts, so that a rename suffices

/// Opens a folder beneath `base`, making what is missing of it; each new name is synced to disk.
Result<Fd> make_folders_beneath(const std::filesystem::path& base, const std::string& relative) {
  LATHE_TRY(auto at, open_beneath(base, "", O_RDONLY | O_DIRECTORY));
  std::string so_far;
  for (const auto part : split(relative, '/')) {
    const std::string name(part);
    so_far.append(so_far.empty() ? "" : "/").append(name);
    if (::mkdirat(at.get(), name.c_str(), 0700) == 0)
      ::fsync(at.get());
    else if (errno != EEXIST)
      return fail(errno_error("cannot make the folder " + so_far));
    auto next = open_beneath(base, so_far, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!next && next.error().code == Code::not_found)
      return fail(Code::invalid, fmt::format("\"{}\" is a file: nothing can lie below it", printable(so_far)));
    LATHE_TRY(at, std::move(next));
  }
  return at;
}

class FileUpload final : public http::Sink {
 public:
  FileUpload(std::filesystem::path base, std::string path, Fd uploads, std::string temporary, Fd file)
      : base_(std::move(base)),
        path_(std::move(path)),
        uploads_(std::move(uploads)),
        temporary_(std::move(temporary)),
        file_(std::move(file)) {}
  ~FileUpload() override {
    if (!finished_) ::unlinkat(uploads_.get(), temporary_.c_str(), 0);
  }
  FileUpload(const FileUpload&) = delete;
  FileUpload& operator=(const FileUpload&) = delete;

  Result<void> write(std::string_view piece) override { return write_all(file_.get(), piece, path_); }

  Result<http::Response> finish() override {
    if (::fsync(file_.get()) != 0) return fail(errno_error("cannot write " + path_));
    const auto [folder, name] = split_last(path_);
    LATHE_TRY(const auto holder, make_folders_beneath(base_, folder));
    if (::renameat(uploads_.get(), temporary_.c_str(), holder.get(), name.c_str()) != 0) {
      if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
        return fail(Code::invalid, fmt::format("\"{}\" is a folder: a file cannot replace it", printable(path_)));
      return fail(errno_error("cannot write " + path_));
    }
    finished_ = true;
    if (::fsync(holder.get()) != 0) return fail(errno_error("cannot write " + path_));
    return http::json_response(json::Object{});
  }

 private:
  std::filesystem::path base_;
  std::string path_;
  Fd uploads_;
  std::string temporary_;
  Fd file_;
  bool finished_ = false;
};

/// Removes what a folder holds, without following links.
Result<void> empty_folder(int folder) {
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return fail(errno_error("cannot read a folder"));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy), ::closedir);
  while (const auto* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (::unlinkat(folder, entry->d_name, 0) == 0) continue;
    if (errno != EISDIR && errno != EPERM) return fail(errno_error("cannot remove an artifact"));
    const Fd inner{::openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!inner) return fail(errno_error("cannot remove an artifact"));
    LATHE_CHECK(empty_folder(inner.get()));
    if (::unlinkat(folder, entry->d_name, AT_REMOVEDIR) != 0) return fail(errno_error("cannot remove an artifact"));
  }
  return {};
}

/// Adds what lies below `folder` at any depth, links aside.
Result<void> gather(int folder, const std::string& prefix, std::vector<File>& out) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder), ::closedir);
  if (!entries) return fail(errno_error("cannot list the artifacts"));
  while (const auto* entry = ::readdir(entries.get())) {
    const std::string name = entry->d_name;
    struct stat found {};
    if (name == "." || name == ".." || (prefix.empty() && name == kUploads)) continue;
    if (::fstatat(folder, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    if (S_ISREG(found.st_mode)) out.push_back({prefix + name, static_cast<std::uint64_t>(found.st_size)});
    if (!S_ISDIR(found.st_mode)) continue;
    const int inner = ::openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner >= 0) LATHE_CHECK(gather(inner, prefix + name + "/", out));
  }
  return {};
}

class FolderStorage final : public Storage {
 public:
  explicit FolderStorage(std::filesystem::path folder) : folder_(std::move(folder)) {}

  Result<std::unique_ptr<http::Sink>> upload(const std::string& path, std::optional<std::uint64_t> size) override;
  Result<http::Response> download(const std::string& path, std::optional<std::string_view> range) override;
  Result<std::vector<Entry>> list(const std::string& path) override;
  Result<std::vector<File>> files(const std::string& path) override;
  Result<void> remove(const std::string& path) override;
  std::optional<std::filesystem::path> folder() const override { return folder_; }

 private:
  std::filesystem::path folder_;
};

Result<std::unique_ptr<http::Sink>> FolderStorage::upload(const std::string& path, std::optional<std::uint64_t>) {
  LATHE_CHECK(check_path(path));
  auto clean = tidy(path);
  if (clean.empty() || path.ends_with('/') || clean.starts_with(kUploads)) return fail(bad_path(path));
  LATHE_TRY(auto uploads, open_beneath(folder_, kUploads, O_RDONLY | O_DIRECTORY));
  auto temporary = random_hex(16);
  Fd file{::openat(uploads.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot take an upload"));
  return std::make_unique<FileUpload>(folder_, std::move(clean), std::move(uploads), std::move(temporary),
                                      std::move(file));
}

Result<http::Response> FolderStorage::download(const std::string& path, std::optional<std::string_view> range) {
  LATHE_CHECK(check_path(path));
  const auto clean = tidy(path);
  auto opened = open_beneath(folder_, clean, O_RDONLY | O_NONBLOCK);
  if (!opened && opened.error().code == Code::not_found) return fail(no_such(path));
  LATHE_TRY(auto file, std::move(opened));
  if (clean.starts_with(kUploads)) return fail(no_such(path));
  auto response = http::file_response(std::move(file), split_last(clean).second, range);
  if (!response && response.error().code == Code::not_found) return fail(no_such(path));
  return response;
}

Result<std::vector<Entry>> FolderStorage::list(const std::string& path) {
  LATHE_CHECK(check_path(path));
  std::vector<Entry> out;
  auto opened = open_beneath(folder_, tidy(path), O_RDONLY | O_DIRECTORY);
  if (!opened && opened.error().code == Code::not_found) return out;
  LATHE_TRY(auto folder, std::move(opened));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder.get()), ::closedir);
  if (!entries) return fail(errno_error("cannot list the artifacts"));
  const int fd = folder.release();  // now the stream's
  while (const auto* entry = ::readdir(entries.get())) {
    const std::string name = entry->d_name;
    struct stat found {};
    if (name == "." || name == ".." || name == kUploads) continue;
    if (::fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    if (S_ISDIR(found.st_mode))
      out.push_back({name, true, 0});
    else if (S_ISREG(found.st_mode))
      out.push_back({name, false, static_cast<std::uint64_t>(found.st_size)});
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return out;
}

Result<std::vector<File>> FolderStorage::files(const std::string& path) {
  LATHE_CHECK(check_path(path));
  std::vector<File> out;
  auto folder = open_beneath(folder_, tidy(path), O_RDONLY | O_DIRECTORY);
  if (!folder && folder.error().code == Code::not_found) return out;
  if (!folder) return fail(folder.error());
  LATHE_CHECK(gather(folder->release(), "", out));
  std::sort(out.begin(), out.end(), [](const File& a, const File& b) { return a.path < b.path; });
  return out;
}

Result<void> FolderStorage::remove(const std::string& path) {
  LATHE_CHECK(check_path(path));
  const auto clean = tidy(path);
  if (clean.empty() || clean.starts_with(kUploads)) return fail(bad_path(path));
  const auto [parent, name] = split_last(clean);
  auto opened = open_beneath(folder_, parent, O_RDONLY | O_DIRECTORY);
  if (!opened && opened.error().code == Code::not_found) return fail(no_such(path));
  LATHE_TRY(const auto holder, std::move(opened));
  if (::unlinkat(holder.get(), name.c_str(), 0) == 0) return {};
  if (errno == ENOENT) return fail(no_such(path));
  if (errno != EISDIR && errno != EPERM) return fail(errno_error("cannot remove the artifact"));
  {
    const Fd inner{::openat(holder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!inner) return fail(errno_error("cannot remove the artifact"));
    LATHE_CHECK(empty_folder(inner.get()));
  }
  if (::unlinkat(holder.get(), name.c_str(), AT_REMOVEDIR) != 0) return fail(errno_error("cannot remove the artifact"));
  return {};
}

}  // namespace

Result<std::unique_ptr<Storage>> open_folder(const std::filesystem::path& folder) {
  LATHE_CHECK(make_folder(folder));
  std::error_code error;
  std::filesystem::remove_all(folder / kUploads, error);
  LATHE_CHECK(make_folder(folder / kUploads));
  return std::make_unique<FolderStorage>(folder);
}

std::unique_ptr<Storage> look_into_folder(const std::filesystem::path& folder) {
  return std::make_unique<FolderStorage>(folder);
}

}  // namespace lathe::storage
