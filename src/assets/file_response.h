#pragma once

#include <filesystem>
#include <string>

#include "http/http.h"

namespace lathe::assets {

/// A file as a download under the name `as`, sent in pieces. Errors: `not_found`, `internal`.
Result<http::Response> file_response(const std::filesystem::path& file, const std::string& as);

}  // namespace lathe::assets
