#pragma once

#include <optional>
#include <string_view>

#include "base/file.h"
#include "http/http.h"

namespace lathe::http {

/// The head of a download under `name`: always an attachment that a browser does not run.
Response attachment_response(std::string_view name);

/// Whether a Range header asks for one part that makes sense ("bytes=0-99", "bytes=5-", "bytes=-3"). Others are answered
/// with everything, as HTTP allows.
bool is_single_range(std::string_view header);

/// An open file as a download under `name`, sent in pieces. `range`: the
/// request's Range header ("bytes=0-99"); one range is honoured.
/// Errors: `not_found` for what is not a regular file.
Result<Response> file_response(Fd file, std::string_view name, std::optional<std::string_view> range);

}  // namespace lathe::http
