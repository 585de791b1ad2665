#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "cli/session.h"

namespace lathe::cli {

/// Fetches the files that `base` lists ({"value": [{"path", ...}]}) and `wanted` takes into `folder`, one by one, each
/// whole or not at all. Prints where they are. Errors: `not_found` when there is none.
Result<int> download(Session& session, const std::string& base, const std::filesystem::path& folder,
                     const std::function<bool(std::string_view)>& wanted);

}  // namespace lathe::cli
