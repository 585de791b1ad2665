#pragma once

#include "app/config.h"

namespace lathe::app {

/// `lathe serve`: runs until SIGTERM or SIGINT. Prints `ready ...` to stdout when it can answer. Returns the exit code.
int serve(const Config& config);

/// `lathe stop`: ends the server of `data`; with `all`, then every job and the data plane too. Returns the exit code.
int stop(const std::filesystem::path& data, bool all);

}  // namespace lathe::app
