#include "storage/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/ids.h"
#include "base/text.h"

namespace lathe::storage {
namespace {

constexpr std::string_view kUploads = ".uploads";  // beside the artifacts, so that a rename suffices
constexpr std::size_t kPiece = 256 * 1024;

Error no_such(std::string_view path) { return {Code::not_found, fmt::format("there is no artifact \"{}\"", printable(path)), {}}; }

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
    if (::mkdirat(at.get(), name.c_str(), 0700) == 0) ::fsync(at.get());
    else if (errno != EEXIST) return fail(errno_error("cannot make the folder " + so_far));
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
      : base_(std::move(base)), path_(std::move(path)), uploads_(std::move(uploads)), temporary_(std::move(temporary)), file_(std::move(file)) {}
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

class FileSource final : public http::Source {
 public:
  FileSource(Fd file, std::uint64_t begin, std::uint64_t length) : file_(std::move(file)), at_(begin), left_(length), length_(length) {}

  Result<Step> read(std::string& out) override {
    if (left_ == 0) return Step::end;
    const auto before = out.size();
    out.resize(before + static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece)));
    ssize_t got = 0;
    do got = ::pread(file_.get(), out.data() + before, out.size() - before, static_cast<off_t>(at_));
    while (got < 0 && errno == EINTR);
    if (got < 0) return fail(errno_error("cannot read the artifact"));
    if (got == 0) return fail(Code::internal, "the artifact became shorter while it was sent");
    out.resize(before + static_cast<std::size_t>(got));
    at_ += static_cast<std::uint64_t>(got);
    left_ -= static_cast<std::uint64_t>(got);
    return left_ == 0 ? Step::end : Step::more;
  }

  std::optional<std::uint64_t> length() const override { return length_; }

 private:
  Fd file_;
  std::uint64_t at_;
  std::uint64_t left_;
  std::uint64_t length_;
};

struct Range {
  std::uint64_t begin;
  std::uint64_t end;  ///< one past the last byte
};

/// The one range of "bytes=a-b", "bytes=a-" or "bytes=-n". nullopt for what we answer with the whole file, as HTTP allows.
std::optional<Range> parse_range(std::string_view header, std::uint64_t size) {
  if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return std::nullopt;
  header.remove_prefix(6);
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
  };
  const auto first = number(header.substr(0, dash));
  const auto last = number(header.substr(dash + 1));
  if (!first && last) return Range{size - std::min(size, *last), size};
  if (!first || (!last && dash + 1 < header.size()) || (last && *last < *first)) return std::nullopt;
  return Range{*first, last ? std::min(size, *last == UINT64_MAX ? size : *last + 1) : size};
}

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

std::string attachment(std::string_view name) {
  std::string plain;
  for (const char c : name) plain += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '_' : c;
  return fmt::format("attachment; filename=\"{}\"; filename*=UTF-8''{}", plain, url_encode(name));
}

}  // namespace

Result<void> check_path(std::string_view path) {
  const auto refuse = [&] { return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path.substr(0, 300)))); };
  std::string now(path);
  for (int round = 0; round < 8; ++round) {
    if (now.starts_with('/') || now.find_first_of("#\\") != std::string::npos) return refuse();
    if (std::any_of(now.begin(), now.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return refuse();
    if (now.size() >= 2 && std::isalpha(static_cast<unsigned char>(now[0])) != 0 && now[1] == ':') return refuse();
    if (now.find("://") != std::string::npos || now.starts_with("file:")) return refuse();
    for (const auto part : split(now, '/'))
      if (part == "..") return refuse();
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
  if (clean.empty() || path.ends_with('/') || clean.starts_with(kUploads)) return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path)));
  LATHE_TRY(auto uploads, open_beneath(folder_, kUploads, O_RDONLY | O_DIRECTORY));
  auto temporary = random_hex(16);
  Fd file{::openat(uploads.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) return fail(errno_error("cannot take an upload"));
  return std::make_unique<FileUpload>(folder_, std::move(clean), std::move(uploads), std::move(temporary), std::move(file));
}

Result<http::Response> Storage::download(const std::string& path, std::optional<std::string_view> range) {
  LATHE_CHECK(check_path(path));
  const auto clean = tidy(path);
  auto opened = open_beneath(folder_, clean, O_RDONLY | O_NONBLOCK);
  if (!opened && opened.error().code == Code::not_found) return fail(no_such(path));
  LATHE_TRY(auto file, std::move(opened));
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return fail(errno_error("cannot read the artifact"));
  if (!S_ISREG(found.st_mode) || clean.starts_with(kUploads)) return fail(no_such(path));

  const auto size = static_cast<std::uint64_t>(found.st_size);
  const auto part = range ? parse_range(*range, size) : std::nullopt;
  http::Response response;
  response.type = "application/octet-stream";
  response.headers = {{"Content-Disposition", attachment(split_last(clean).second)},
                      {"Content-Security-Policy", "sandbox; default-src 'none'"},
                      {"X-Frame-Options", "DENY"},
                      {"Accept-Ranges", "bytes"}};
  if (part && part->begin >= part->end) {
    response.status = 416;
    response.headers.emplace_back("Content-Range", fmt::format("bytes */{}", size));
    return response;
  }
  if (part) {
    response.status = 206;
    response.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", part->begin, part->end - 1, size));
  }
  const Range all = part.value_or(Range{0, size});
  response.source = std::make_unique<FileSource>(std::move(file), all.begin, all.end - all.begin);
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
    if (S_ISDIR(found.st_mode)) out.push_back({name, true, 0});
    else if (S_ISREG(found.st_mode)) out.push_back({name, false, static_cast<std::uint64_t>(found.st_size)});
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return out;
}

Result<void> Storage::remove(const std::string& path) {
  LATHE_CHECK(check_path(path));
  const auto clean = tidy(path);
  if (clean.empty() || clean.starts_with(kUploads)) return fail(Code::invalid, fmt::format("Invalid path: '{}'", printable(path)));
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
