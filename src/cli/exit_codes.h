#pragma once

#include "base/result.h"

namespace lathe::cli {

constexpr int kExitFailed = 1;       ///< the job failed, or anything that has no code of its own
constexpr int kExitInterrupted = 130;

/// What a script sees of an error; `kExitCodesHelp` says the same to people.
constexpr int exit_code(Code code) {
  switch (code) {
    case Code::invalid:
    case Code::unsupported_media: return 2;
    case Code::not_found: return 3;
    case Code::unauthenticated:
    case Code::forbidden: return 4;
    case Code::conflict: return 5;
    case Code::unavailable: return 6;
    case Code::timeout: return 7;
    case Code::exhausted: return 8;
    case Code::internal: return kExitFailed;
  }
  return kExitFailed;
}

constexpr const char* kExitCodesHelp =
    "Exit codes: 0 done, 1 the job failed or an unforeseen error, 2 wrong flags or input, 3 no such thing,\n"
    "  4 not logged in or not allowed, 5 conflict, 6 no server answers, 7 timed out, 8 no room, 130 interrupted.\n";

}  // namespace lathe::cli
