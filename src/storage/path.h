#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace lathe::storage {

/// Without empty and "." parts.
std::string tidy(std::string_view path);

/// The folder's part and the last part of a path.
std::pair<std::string, std::string> split_last(const std::string& path);

Error no_such(std::string_view path);
Error bad_path(std::string_view path);

}  // namespace lathe::storage
