#pragma once

namespace lathe {

/// Lathe's own version, "0.1.0".
const char* version();

}  // namespace lathe
