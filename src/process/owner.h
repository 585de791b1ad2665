#pragma once

#include <filesystem>
#include <optional>

namespace lathe::process {

/// The folder of the run to which a process of this machine belongs: that of the lathe-shim among its ancestors. nullopt: it
/// runs under none, or has ended. What a run has started stays below its shim, which is the subreaper of all of it.
std::optional<std::filesystem::path> run_of(int pid);

}  // namespace lathe::process
