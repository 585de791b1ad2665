// References to data and models, and the rules of ignore files: whatever comes is read or refused, and soon.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "assets/ignore.h"
#include "assets/reference.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto reference = assets::parse_reference(text);
  if (!reference && reference.error().code != Code::invalid) std::abort();

  const auto line = text.find('\n');
  if (line == std::string::npos) return 0;
  assets::IgnoreRules rules;
  rules.add(text.substr(line + 1));
  const auto path = text.substr(0, line);
  (void)rules.ignored(path, false);
  (void)rules.ignored(path, true);
  return 0;
}
