#include "assets/file_response.h"

#include <fcntl.h>

#include "base/file.h"
#include "http/file_response.h"

namespace lathe::assets {

Result<http::Response> file_response(const std::filesystem::path& file, const std::string& as,
                                     std::optional<std::string_view> range) {
  Fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return fail(errno_error("cannot read " + as));
  return http::file_response(std::move(fd), as, range);
}

}  // namespace lathe::assets
