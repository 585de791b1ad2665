#pragma once

#include <optional>
#include <string_view>

#include "base/file.h"
#include "http/http.h"

namespace lathe::http {

/// An open file as a download under `name`, sent in pieces: always as an attachment that a browser does not run. `range`: the
/// request's Range header ("bytes=0-99"); one range is honoured.
/// Errors: `not_found` for what is not a regular file.
Result<Response> file_response(Fd file, std::string_view name, std::optional<std::string_view> range);

}  // namespace lathe::http
