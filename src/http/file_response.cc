#include "http/file_response.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>

#include "base/text.h"

namespace lathe::http {
namespace {

constexpr std::size_t kPiece = 256 * 1024;

class FileSource final : public Source {
 public:
  FileSource(Fd file, std::uint64_t begin, std::uint64_t length) : file_(std::move(file)), at_(begin), left_(length), length_(length) {}

  Result<Step> read(std::string& out) override {
    if (left_ == 0) return Step::end;
    const auto before = out.size();
    out.resize(before + static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece)));
    ssize_t got = 0;
    do got = ::pread(file_.get(), out.data() + before, out.size() - before, static_cast<off_t>(at_));
    while (got < 0 && errno == EINTR);
    if (got < 0) return fail(errno_error("cannot read the file"));
    if (got == 0) return fail(Code::internal, "the file became shorter while it was sent");
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

/// The numbers of "bytes=a-b", "bytes=a-" or "bytes=-n".
struct AskedRange {
  std::optional<std::uint64_t> first;
  std::optional<std::uint64_t> last;
};
std::optional<AskedRange> parse_range(std::string_view header) {
  if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return std::nullopt;
  header.remove_prefix(6);
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
  };
  const AskedRange asked{number(header.substr(0, dash)), number(header.substr(dash + 1))};
  const bool wrong = (!asked.first && (dash > 0 || !asked.last)) || (!asked.last && dash + 1 < header.size()) ||
                     (asked.first && asked.last && *asked.last < *asked.first);
  return wrong ? std::nullopt : std::optional{asked};
}

Range within(const AskedRange& asked, std::uint64_t size) {
  if (!asked.first) return {size - std::min(size, *asked.last), size};
  return {*asked.first, asked.last && *asked.last < size ? *asked.last + 1 : size};
}

/// A name that is a token of HTTP stands as it is, which is how MLflow's server writes it.
std::string attachment(std::string_view name) {
  const bool token = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$&+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (token) return fmt::format("attachment; filename={}", name);
  std::string plain;
  for (const char c : name) plain += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '_' : c;
  return fmt::format("attachment; filename=\"{}\"; filename*=UTF-8''{}", plain, url_encode(name));
}

}  // namespace

Response attachment_response(std::string_view name) {
  Response response;
  response.type = "application/octet-stream";
  response.headers = {{"Content-Disposition", attachment(name)},
                      {"Content-Security-Policy", "sandbox; default-src 'none'"},
                      {"X-Frame-Options", "DENY"},
                      {"Accept-Ranges", "bytes"}};
  return response;
}

bool is_single_range(std::string_view header) { return parse_range(header).has_value(); }

Result<Response> file_response(Fd file, std::string_view name, std::optional<std::string_view> range) {
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return fail(errno_error("cannot read the file"));
  if (!S_ISREG(found.st_mode)) return fail(Code::not_found, fmt::format("\"{}\" is not a file", printable(name)));

  const auto size = static_cast<std::uint64_t>(found.st_size);
  const auto asked = range ? parse_range(*range) : std::nullopt;
  const auto part = asked ? std::optional{within(*asked, size)} : std::nullopt;
  auto response = attachment_response(name);
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

}  // namespace lathe::http
