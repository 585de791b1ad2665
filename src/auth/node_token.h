#pragma once

#include <string_view>

namespace lathe::auth {

/// How the tokens of inference nodes begin, and no user's does: so that one at the wrong door is told where it belongs.
constexpr std::string_view kNodeTokenBegin = "lathe_node_";

}  // namespace lathe::auth
