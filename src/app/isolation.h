#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::app {

/// "gpu-box=sandbox,local=off": on which compute targets jobs run in a sandbox, or never do, whatever they do elsewhere.
/// Errors: `invalid`.
Result<std::map<std::string, bool>> parse_isolation_targets(std::string_view text);

}  // namespace lathe::app
