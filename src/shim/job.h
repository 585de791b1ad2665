#pragma once

#include "shim/spec.h"
#include "shim/text.h"

namespace lathe::shim {

/// Forks and runs the command in its own process group with stdin from /dev/null and stdout and stderr into `output`.
/// Returns once the program runs (its pid), or -1 with a sentence in `error`. `variables`: more of them, each ended by
/// a line feed; may be null. `again`: not the first start in its cgroups. `oom_score` is what the job gets.
int start_job(const Spec& spec, const char* variables, bool again, int output, const char* oom_score, Text& error);

/// Runs a program in place of this one, with the usual handling of signals. Returns when it cannot be run.
void exec_plainly(char** args);

/// Whether a private mount namespace with a read-only bind mount can be made here.
bool can_mount();

}  // namespace lathe::shim
