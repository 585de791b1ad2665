#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "http/http.h"

namespace lathe::assets {

/// A file as a download under the name `as`, sent in pieces; `range`: the request's header, where there is one. Errors:
/// `not_found`, `internal`.
Result<http::Response> file_response(const std::filesystem::path& file, const std::string& as,
                                     std::optional<std::string_view> range = std::nullopt);

}  // namespace lathe::assets
