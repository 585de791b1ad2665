#pragma once

#include <string>

#include "base/result.h"
#include "cli/arguments.h"

namespace lathe::cli {

/// The server that a command speaks to.
struct Target {
  std::string url;
  std::string token;
  std::string certificate_sha256;
  bool here = false;  ///< found through the data folder of this machine
};

/// Flags (--url, --token, --context, --data), then LATHE_URL and LATHE_TOKEN, then the context in use, then the server
/// that runs here on the data folder (LATHE_DATA or the default one). A URL without a token takes the token of the
/// context or the local server with the same URL.
/// Errors: `unavailable` — none is named and none runs here; `not_found` — no such context.
Result<Target> find_server(const Arguments& arguments);

/// "no server is running here; start one with `lathe serve`"
Error no_server();

}  // namespace lathe::cli
