#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/result.h"

namespace lathe::environments {

/// Makes what a build left in `folder` readable for everybody and writable for nobody else than this server, and sees
/// that all of it is on the disk. Nothing of the build runs any more. `account`: whom the build ran as; its files
/// become ours. Answers its size in bytes. Errors: `invalid` for what is neither file, folder nor link, or another
/// account's; as for changing files.
Result<std::int64_t> hand_over(const std::filesystem::path& folder, std::optional<std::uint32_t> account);

}  // namespace lathe::environments
