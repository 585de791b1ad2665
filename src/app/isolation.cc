#include "app/isolation.h"

#include "base/text.h"

namespace lathe::app {

Result<std::map<std::string, bool>> parse_isolation_targets(std::string_view text) {
  std::map<std::string, bool> out;
  if (trim(text).empty()) return out;
  for (const auto part : split(text, ',')) {
    const auto equals = part.find('=');
    const auto name = trim(part.substr(0, equals));
    const auto how = equals == std::string_view::npos ? std::string_view() : trim(part.substr(equals + 1));
    if (name.empty() || (how != "sandbox" && how != "off"))
      return fail(Code::invalid, "\"" + printable(part) + "\" is neither TARGET=sandbox nor TARGET=off");
    out[std::string(name)] = how == "sandbox";
  }
  return out;
}

}  // namespace lathe::app
