#pragma once

#include <filesystem>
#include <string_view>

#include "base/file.h"

namespace lathe {

/// Opens the folder `relative` below `base` and refuses every link on the way: for folders that somebody who is trusted
/// less than `base` may replace. Errors: `invalid` where a link is in the way, else as `errno_error`.
Result<Fd> open_folder(const std::filesystem::path& base, std::string_view relative);

/// Leads to what `fd` holds open, for as long as it does, whatever becomes of the path that it was opened by.
std::filesystem::path path_of(const Fd& fd);

}  // namespace lathe
