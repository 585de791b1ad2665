#pragma once

#include "base/time.h"

namespace lathe {

/// "2026-05-01T12:30:00.5Z", also with an offset ("+02:00") in place of the Z. Errors: `invalid`.
Result<Time> parse_iso8601(std::string_view text);

}  // namespace lathe
