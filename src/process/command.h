#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::process {

struct CommandOutput {
  int status = 0;  ///< the exit status; 128 + the signal that ended it
  std::string out;
  std::string err;
};

/// What a command gets of our environment: variables by their beginnings.
inline const std::vector<std::string_view> kCommandEnvironment{"PATH=", "HOME=", "LANG=", "SLURM_"};

/// Runs a short command to its end, without a shell, in a session of its own, with `input` on its standard input;
/// `argv[0]` is looked for in our PATH. Of our environment it gets what begins with one of `kept`.
/// Errors: `not_found` — no such program; `timeout` — it did not end in time and was killed: what it did is unknown;
/// `exhausted`, `internal`. Thread-safe; blocks. SIGPIPE has to be ignored.
Result<CommandOutput> run_command(const std::vector<std::string>& argv, std::string_view input,
                                  std::chrono::milliseconds limit,
                                  const std::vector<std::string_view>& kept = kCommandEnvironment);

}  // namespace lathe::process
