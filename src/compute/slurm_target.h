#pragma once

#include "compute/targets.h"

namespace lathe::compute {

/// Reads a compute document of type slurm over `base`: a partition of a Slurm cluster that is there already.
/// Errors: `invalid`, beginning with the field.
Result<Target> read_slurm_target(const json::Object& document, const Target& base, json::Report& report);

/// "16G", "512 MiB", a number of MiB. Errors: `invalid`.
Result<std::int64_t> parse_memory(std::string_view text);

}  // namespace lathe::compute
