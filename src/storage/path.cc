#include "storage/path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <climits>

#include "base/text.h"
#include "base/utf8.h"
#include "storage/storage.h"

namespace lathe::storage {
namespace {

constexpr std::size_t kMostPath = 1024;  ///< bytes, as S3 has it
constexpr std::size_t kMostShown = 300;

}  // namespace

std::string tidy(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/'))
    if (!part.empty() && part != ".") out.append(out.empty() ? "" : "/").append(part);
  return out;
}

std::pair<std::string, std::string> split_last(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Error no_such(std::string_view path) {
  return {Code::not_found, fmt::format("there is no artifact \"{}\"", printable(path)), {}};
}

Error bad_path(std::string_view path) {
  return {Code::invalid, fmt::format("Invalid path: '{}'", printable(path.substr(0, kMostShown))), {}};
}

Result<void> check_path(std::string_view path) {
  if (path.size() > kMostPath || !is_utf8(path)) return fail(bad_path(path));
  std::string now(path);
  for (int round = 0; round < 8; ++round) {
    if (now.starts_with('/') || now.find_first_of("#\\") != std::string::npos) return fail(bad_path(path));
    if (std::any_of(now.begin(), now.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      return fail(bad_path(path));
    if (now.size() >= 2 && std::isalpha(static_cast<unsigned char>(now[0])) != 0 && now[1] == ':')
      return fail(bad_path(path));
    if (now.find("://") != std::string::npos || now.starts_with("file:")) return fail(bad_path(path));
    for (const auto part : split(now, '/'))
      if (part == ".." || part.size() > NAME_MAX) return fail(bad_path(path));
    auto decoded = url_decode(now);
    if (decoded == now) return {};
    now = std::move(decoded);
  }
  return fail(bad_path(path));
}

}  // namespace lathe::storage
