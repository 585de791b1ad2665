#include "storage/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>

#include "base/ids.h"
#include "base/text.h"
#include "base/utf8.h"
#include "http/file_response.h"

namespace lathe::storage {
namespace {

constexpr std::size_t kMostPath = 1024;  ///< bytes, as S3 has it
constexpr std::string_view kUploads = ".uploads";  // beside the artifacts, so that a rename suffices

Error no_such(std::string_view path) {
  return {Code::not_found, fmt::format("there is no artifact \"{}\"", printable(path)), {}};
}

/// The folder's part and the last part of a path.
std::pair<std::string, std::string> split_last(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

/// Without empty and "." parts.
std::string tidy(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/'))
    if (!part.empty() && part != ".") out.append(out.empty() ? "" : "/").append(part);
  return out;
}

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

}  // namespace

Result<void> check_path(std::string_view path) {
  const auto refuse = [&] {
    return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path.substr(0, 300))));
  };
  if (path.size() > kMostPath || !is_utf8(path)) return refuse();
  std::string now(path);
  for (int round = 0; round < 8; ++round) {
    if (now.starts_with('/') || now.find_first_of("#\\") != std::string::npos) return refuse();
    if (std::any_of(now.begin(), now.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return refuse();
    if (now.size() >= 2 && std::isalpha(static_cast<unsigned char>(now[0])) != 0 && now[1] == ':') return refuse();
    if (now.find("://") != std::string::npos || now.starts_with("file:")) return refuse();
    for (const auto part : split(now, '/'))
      if (part == ".." || part.size() > NAME_MAX) return refuse();
    auto decoded = url_decode(now);
    if (decoded == now) return {};
    now = std::move(decoded);
  }
  return refuse();
}

Result<std::unique_ptr<Storage>> Storage::open(const std::filesystem::path& folder) {
  LATHE_CHECK(make_folder(folder));
  std::error_code error;
  std::filesystem::remove_all(folder / kUploads, error);
  LATHE_CHECK(make_folder(folder / kUploads));
  return std::unique_ptr<Storage>(new Storage(folder));
}

Result<std::unique_ptr<http::Sink>> Storage::upload(const std::string& path) {
  LATHE_CHECK(check_path(path));
  auto clean = tidy(path);
  if (clean.empty() || path.ends_with('/') || clean.starts_with(kUploads))
    return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path)));
  LATHE_TRY(auto uploads, open_beneath(folder_, kUploads, O_RDONLY | O_DIRECTORY));
  auto temporary = random_hex(16);
  Fd file{::openat(uploads.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot take an upload"));
  return std::make_unique<FileUpload>(folder_, std::move(clean), std::move(uploads), std::move(temporary),
                                      std::move(file));
}

Result<http::Response> Storage::download(const std::string& path, std::optional<std::string_view> range) {
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

Result<std::vector<Entry>> Storage::list(const std::string& path) {
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

Result<void> Storage::remove(const std::string& path) {
  LATHE_CHECK(check_path(path));
  const auto clean = tidy(path);
  if (clean.empty() || clean.starts_with(kUploads))
    return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path)));
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

}  // namespace lathe::storage
