#include "backup/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"

namespace lathe::backup {
namespace {

constexpr std::string_view kSums = "SHA256SUMS";
constexpr std::string_view kEnd = "END";

struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

/// Names in the archive are ASCII, whatever paths hold: other bytes are written as in a URL.
std::string encoded(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/')) out += (out.empty() ? "" : "/") + url_encode(part);
  return out;
}

std::string why(archive* from) {
  const char* text = archive_error_string(from);
  return text != nullptr ? text : "unknown error";
}

}  // namespace

struct ArchiveWriter::State {
  Fd fd;
  archive* out = archive_write_new();
  Sha256 digest;
  ~State() { archive_write_free(out); }
};

ArchiveWriter::ArchiveWriter(std::filesystem::path file, std::filesystem::path beside)
    : file_(std::move(file)), beside_(std::move(beside)), state_(std::make_unique<State>()) {}

ArchiveWriter::~ArchiveWriter() {
  if (!beside_.empty()) ::unlink(beside_.c_str());
}

Result<std::unique_ptr<ArchiveWriter>> ArchiveWriter::open(const std::filesystem::path& file) {
  auto beside = file;
  beside += "." + random_hex(4) + ".part";
  Fd fd{::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!fd) return fail(errno_error("cannot write " + beside.string()));
  std::unique_ptr<ArchiveWriter> writer(new ArchiveWriter(file, beside));
  auto& state = *writer->state_;
  state.fd = std::move(fd);
  archive_write_set_format_pax_restricted(state.out);
  archive_write_add_filter_zstd(state.out);
  if (archive_write_open_fd(state.out, state.fd.get()) != ARCHIVE_OK)
    return fail(Code::internal, fmt::format("cannot write {}: {}", beside.string(), why(state.out)));
  return writer;
}

Result<void> ArchiveWriter::begin(const std::string& name, std::uint64_t size) {
  const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0600);
  if (archive_write_header(state_->out, entry.get()) != ARCHIVE_OK)
    return fail(Code::exhausted, fmt::format("cannot write {}: {}", beside_.string(), why(state_->out)));
  state_->digest = Sha256();
  return {};
}

Result<void> ArchiveWriter::write(std::string_view piece) {
  while (!piece.empty()) {
    const auto wrote = archive_write_data(state_->out, piece.data(), piece.size());
    if (wrote <= 0)
      return fail(Code::exhausted, fmt::format("cannot write {}: {}", beside_.string(), why(state_->out)));
    state_->digest.update(piece.substr(0, static_cast<std::size_t>(wrote)));
    piece.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<void> ArchiveWriter::add(const std::string& name, std::string_view content) {
  const auto inside = encoded(name);
  LATHE_CHECK(begin(inside, content.size()));
  LATHE_CHECK(write(content));
  digests_[inside] = state_->digest.finish();
  return {};
}

Result<void> ArchiveWriter::add(const std::string& name, std::uint64_t size,
                                const std::function<Result<void>(std::string&)>& read) {
  const auto inside = encoded(name);
  LATHE_CHECK(begin(inside, size));
  std::uint64_t sent = 0;
  std::string piece;
  for (;;) {
    piece.clear();
    LATHE_CHECK(read(piece));
    if (piece.empty()) break;
    sent += piece.size();
    if (sent > size) break;
    LATHE_CHECK(write(piece));
  }
  if (sent != size)
    return fail(Code::conflict, fmt::format("{} changed while it was read: make the backup again", name));
  digests_[inside] = state_->digest.finish();
  return {};
}

Result<void> ArchiveWriter::finish() {
  std::string sums;
  for (const auto& [name, digest] : digests_) sums += fmt::format("{}  {}\n", digest, name);
  LATHE_CHECK(begin(std::string(kSums), sums.size()));
  LATHE_CHECK(write(sums));
  const auto end = state_->digest.finish() + "\n";
  LATHE_CHECK(begin(std::string(kEnd), end.size()));
  LATHE_CHECK(write(end));
  if (archive_write_close(state_->out) != ARCHIVE_OK || ::fsync(state_->fd.get()) != 0)
    return fail(Code::exhausted, fmt::format("cannot write {}: {}", beside_.string(), why(state_->out)));
  if (::rename(beside_.c_str(), file_.c_str()) != 0) return fail(errno_error("cannot write " + file_.string()));
  beside_.clear();
  const auto folder = std::filesystem::absolute(file_).parent_path();
  const Fd holder{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (holder) ::fsync(holder.get());
  return {};
}

struct ArchiveReader::State {
  archive* in = archive_read_new();
  Sha256 digest;
  std::string name;  ///< of the entry that is being read; empty: none is
  std::string sums, end;
  ~State() { archive_read_free(in); }
};

ArchiveReader::ArchiveReader(std::filesystem::path file) : file_(std::move(file)), state_(std::make_unique<State>()) {}
ArchiveReader::~ArchiveReader() = default;

Error ArchiveReader::damaged(const std::string& what) const {
  return {Code::invalid, fmt::format("the backup {} is damaged: {}; nothing of it was used", file_.string(), what), {}};
}

Result<std::unique_ptr<ArchiveReader>> ArchiveReader::open(const std::filesystem::path& file) {
  if (::access(file.c_str(), R_OK) != 0) return fail(errno_error("cannot read " + file.string()));
  std::unique_ptr<ArchiveReader> reader(new ArchiveReader(file));
  auto* in = reader->state_->in;
  archive_read_support_filter_zstd(in);
  archive_read_support_format_tar(in);
  archive_read_set_option(in, "tar", "read_concatenated_archives", "1");  // to the file's very end: nothing may follow
  if (archive_read_open_filename(in, file.c_str(), std::size_t{1} << 18) != ARCHIVE_OK)
    return fail(Code::invalid, fmt::format("{} is no backup of Lathe's: {}", file.string(), why(in)));
  return reader;
}

Result<std::optional<std::string>> ArchiveReader::next() {
  if (!state_->name.empty()) LATHE_CHECK(read_all());
  archive_entry* entry = nullptr;
  const int rc = archive_read_next_header(state_->in, &entry);
  if (rc == ARCHIVE_EOF) {
    LATHE_CHECK(check_end());
    return std::nullopt;
  }
  if (rc != ARCHIVE_OK) return fail(damaged(why(state_->in)));
  const char* name = archive_entry_pathname(entry);
  if (name == nullptr || *name == '\0' || archive_entry_filetype(entry) != AE_IFREG)
    return fail(damaged("it holds what no backup holds"));
  if (!state_->end.empty()) return fail(damaged("it goes on after its end, as if a second one had been appended"));
  if (digests_.contains(name)) return fail(damaged(printable(name) + " is in it twice"));
  state_->name = name;
  state_->digest = Sha256();
  if (state_->name == kSums || state_->name == kEnd) {
    const bool sums = state_->name == kSums;
    LATHE_TRY(auto content, read_all());
    (sums ? state_->sums : state_->end) = std::move(content);
    return next();
  }
  return url_decode(state_->name);
}

Result<bool> ArchiveReader::read(std::string& out) {
  if (state_->name.empty()) return false;
  const void* block = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  const int rc = archive_read_data_block(state_->in, &block, &size, &offset);
  if (rc == ARCHIVE_EOF) {
    digests_[std::exchange(state_->name, {})] = state_->digest.finish();
    return false;
  }
  if (rc != ARCHIVE_OK) return fail(damaged(fmt::format("{}: {}", printable(state_->name), why(state_->in))));
  const std::string_view piece(static_cast<const char*>(block), size);
  state_->digest.update(piece);
  out.append(piece);
  return true;
}

Result<std::string> ArchiveReader::read_all() {
  std::string out;
  for (bool more = true; more;) {
    LATHE_TRY(more, read(out));
  }
  return out;
}

Result<void> ArchiveReader::check_end() {
  if (state_->end.empty()) return fail(damaged("its end is missing"));
  if (sha256_hex(state_->sums) + "\n" != state_->end)
    return fail(damaged("its list of digests is not the one it was made with"));
  digests_.erase(std::string(kSums));
  digests_.erase(std::string(kEnd));
  std::size_t seen = 0;
  for (const auto line : split(state_->sums, '\n')) {
    if (line.size() < 67) continue;
    const std::string name(line.substr(66));
    const auto found = digests_.find(name);
    if (found == digests_.end()) return fail(damaged(printable(name) + " is missing"));
    if (found->second != line.substr(0, 64))
      return fail(damaged(printable(name) + " has another content than it was made with"));
    ++seen;
  }
  if (seen != digests_.size()) return fail(damaged("it holds more than it was made with"));
  return {};
}

}  // namespace lathe::backup
