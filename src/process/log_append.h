#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace lathe::process {

/// Adds what a program on another machine printed to the log in `folder`, which is made and rotated as a shim does it.
/// `offset` counts all bytes printed: what is there already is skipped, and what begins past the end is not taken.
/// Answers how many bytes are there now. One caller at a time for a folder. Errors: as errno_error.
Result<std::uint64_t> append_log(const std::filesystem::path& folder, std::uint64_t offset, std::string_view bytes,
                                 std::uint64_t cap_bytes);

}  // namespace lathe::process
