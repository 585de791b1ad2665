#pragma once

#include "shim/spec.h"
#include "shim/text.h"

/// Everything that runs for the job: its cgroups where there are some, its process group, and all descendants (the shim
/// is their subreaper).
namespace lathe::shim {

/// Makes the cgroups and sets their limits; what does not work is added to `note` and left away. Groups that cannot be
/// made are removed from the spec.
void make_groups(Spec& spec, Text& note);

/// Sends `signal` once to every process of the job.
void signal_all(const Spec& spec, int job, int signal);

/// Kills and reaps every process of the job, however far it has daemonised. Returns when none is left, or after 5 s
/// with processes that do not die (stuck in the kernel).
void kill_all(const Spec& spec, int job);

void remove_groups(const Spec& spec);

}  // namespace lathe::shim
