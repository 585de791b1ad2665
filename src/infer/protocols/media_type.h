#pragma once

#include "base/result.h"
#include "infer/http/request_parser.h"

namespace lathe::infer {

/// The part of the content type before its parameters; empty when the request does not say it.
std::string_view media_type(const http::Request& request);

/// Errors: `unsupported_media` — the content type says a charset other than UTF-8, or ASCII, which is part of it.
Result<void> check_charset(const http::Request& request);

}  // namespace lathe::infer
