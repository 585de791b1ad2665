#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::infer::http {

/// Unpacks what was sent as `encoding`: gzip or deflate, in any case. Errors: `unsupported_media` — another one;
/// `invalid` — not such data; `exhausted` — larger than `most` bytes.
Result<std::string> inflate(std::string_view encoding, std::string_view packed, std::size_t most);

}  // namespace lathe::infer::http
