#include "assets/file_response.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 18;

class FileSource final : public http::Source {
 public:
  FileSource(Fd fd, std::uint64_t size) : fd_(std::move(fd)), left_(size) {}

  Result<Step> read(std::string& out) override {
    const auto begin = out.size();
    out.resize(begin + static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece)));
    ssize_t got = 0;
    do got = ::read(fd_.get(), out.data() + begin, out.size() - begin);
    while (got < 0 && errno == EINTR);
    if (got < 0) return fail(errno_error("cannot read the file"));
    if (got == 0 && left_ > 0) return fail(Code::internal, "the file became shorter while it was sent");
    out.resize(begin + static_cast<std::size_t>(got));
    left_ -= static_cast<std::uint64_t>(got);
    return left_ == 0 ? Step::end : Step::more;
  }
  std::optional<std::uint64_t> length() const override { return left_; }

 private:
  Fd fd_;
  std::uint64_t left_;
};

}  // namespace

Result<http::Response> file_response(const std::filesystem::path& file, const std::string& as) {
  Fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return fail(errno_error("cannot read " + as));
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail(errno_error("cannot read " + as));
  if (!S_ISREG(found.st_mode)) return fail(Code::not_found, "\"" + as + "\" is not a file");
  http::Response response;
  response.type = "application/octet-stream";
  response.headers = {{"X-Content-Type-Options", "nosniff"},
                      {"Content-Disposition", "attachment; filename*=UTF-8''" + url_encode(as)}};
  response.source = std::make_unique<FileSource>(std::move(fd), static_cast<std::uint64_t>(found.st_size));
  return response;
}

}  // namespace lathe::assets
