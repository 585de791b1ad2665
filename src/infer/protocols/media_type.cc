#include "infer/protocols/media_type.h"

#include <algorithm>

#include "base/text.h"

namespace lathe::infer {

std::string_view media_type(const http::Request& request) {
  auto type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return type;
}

Result<void> check_charset(const http::Request& request) {
  constexpr std::string_view kName = "charset=";
  auto rest = request.header("content-type");
  while (!rest.empty()) {
    const auto end = std::min(rest.find(';'), rest.size());
    auto parameter = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (parameter.size() < kName.size() || !http::equal_ignoring_case(parameter.substr(0, kName.size()), kName))
      continue;
    parameter.remove_prefix(kName.size());
    if (parameter.size() >= 2 && parameter.front() == '"' && parameter.back() == '"')
      parameter = parameter.substr(1, parameter.size() - 2);
    const auto is = [&](std::string_view charset) { return http::equal_ignoring_case(parameter, charset); };
    if (!is("utf-8") && !is("utf8") && !is("us-ascii"))
      return fail(Code::unsupported_media,
                  "the body must be UTF-8, not " + printable(parameter) + ": encode it so and leave the charset out");
  }
  return {};
}

}  // namespace lathe::infer
