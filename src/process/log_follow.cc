#include "process/log_follow.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <vector>

#include "base/file.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

/// An open part of the log.
struct Part {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  Fd file;
};

Result<Part> open_part(const fs::path& path, std::uint64_t begin) {
  Part part{begin, 0, Fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}};
  struct stat found {};
  if (!part.file || ::fstat(part.file.get(), &found) != 0) return fail(errno_error("cannot read " + path.string()));
  part.size = static_cast<std::uint64_t>(found.st_size);
  return part;
}

/// All parts in order, the growing one last. Every rotation adds a new "log.N", so two equal listings around the
/// opening mean that the parts belong together.
Result<std::vector<Part>> open_parts(const fs::path& folder) {
  for (int tries = 0; tries < 100; ++tries) {
    std::vector<Part> parts;
    LATHE_TRY(const auto before, earlier_parts(folder));
    bool changed = false;
    for (const auto begin : before) {
      auto part = open_part(folder / ("log." + std::to_string(begin)), begin);
      changed = changed || !part;
      if (part) parts.push_back(std::move(*part));
    }
    const auto end = parts.empty() ? 0 : parts.back().begin + parts.back().size;
    auto growing = open_part(folder / "log", end);
    if (!growing && growing.error().code != Code::not_found) return fail(growing.error());
    LATHE_TRY(const auto after, earlier_parts(folder));
    if (changed || before != after) continue;
    if (growing) parts.push_back(std::move(*growing));
    return parts;
  }
  return fail(Code::unavailable, "the log of " + folder.string() + " rotates faster than it can be read");
}

Result<std::string> read_at(const Part& part, std::uint64_t offset, std::size_t limit) {
  std::string out(std::min<std::uint64_t>(limit, part.begin + part.size - offset), '\0');
  std::size_t used = 0;
  while (used < out.size()) {
    const auto at = static_cast<off_t>(offset - part.begin + used);
    const auto got = ::pread(part.file.get(), out.data() + used, out.size() - used, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot read the log"));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  out.resize(used);
  return out;
}

Result<LogPiece> read_parts(const std::vector<Part>& parts, std::uint64_t offset, std::size_t limit) {
  LogPiece piece{offset, offset, {}, 0};
  for (const auto& part : parts) {
    if (offset >= part.begin + part.size) continue;
    piece.begin = std::max(offset, part.begin);
    LATHE_TRY(piece.bytes, read_at(part, piece.begin, limit));
    piece.next = piece.begin + piece.bytes.size();
    if (piece.begin == offset) return piece;
    const auto line_end = piece.bytes.find('\n');
    if (line_end != std::string::npos && line_end + 1 < piece.bytes.size()) {
      piece.bytes.erase(0, line_end + 1);
      piece.begin += line_end + 1;
    }
    piece.dropped = piece.begin - offset;
    return piece;
  }
  return piece;
}

}  // namespace

Result<std::vector<std::uint64_t>> earlier_parts(const fs::path& folder) {
  std::vector<std::uint64_t> out;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const auto name = at->path().filename().string();
    if (!name.starts_with("log.")) continue;
    std::uint64_t begin = 0;
    const auto [rest, wrong] = std::from_chars(name.data() + 4, name.data() + name.size(), begin);
    if (wrong == std::errc{} && rest == name.data() + name.size()) out.push_back(begin);
  }
  if (error) return fail(Code::not_found, "cannot read " + folder.string() + ": " + error.message());
  std::sort(out.begin(), out.end());
  return out;
}

Result<LogPiece> read_log(const fs::path& folder, std::uint64_t offset, std::size_t limit_bytes) {
  LATHE_TRY(const auto parts, open_parts(folder));
  return read_parts(parts, offset, limit_bytes);
}

std::string dropped_note(std::uint64_t bytes) {
  return "[lathe] " + std::to_string(bytes) + " bytes of earlier output were dropped\n";
}

Result<std::string> last_lines(const fs::path& folder, std::size_t lines, std::size_t limit_bytes) {
  LATHE_TRY(const auto parts, open_parts(folder));
  if (parts.empty() || lines == 0) return std::string{};
  const auto end = parts.back().begin + parts.back().size;
  const auto begin = end - std::min<std::uint64_t>(end - parts.front().begin, limit_bytes);
  std::string text;
  for (auto offset = begin; offset < end;) {
    LATHE_TRY(const auto piece, read_parts(parts, offset, limit_bytes));
    if (piece.bytes.empty()) break;
    text += piece.bytes;
    offset = piece.next;
  }
  // The limit may have cut a character in two.
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  if (begin > parts.front().begin) text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), continues));
  std::size_t from = text.size();
  for (std::size_t found = 0; from > 0; --from)
    if (text[from - 1] == '\n' && from != text.size() && ++found == lines) break;
  return text.substr(from);
}

}  // namespace lathe::process
