#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::jobs {

/// What `${{inputs.NAME}}` and `${{outputs.NAME}}` become.
struct Bindings {
  std::map<std::string, std::string> inputs;
  std::map<std::string, std::string> outputs;
};

/// Replaces the expressions of an Azure command: `${{inputs.x}}`, `${{outputs.x}}`, and `$[[ ... ]]`, which goes away as a
/// whole when an input that it names is absent. Errors: `invalid` — an unknown name (with the nearest) or kind.
Result<std::string> substitute(std::string_view text, const Bindings& bindings);

}  // namespace lathe::jobs
