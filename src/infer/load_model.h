#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "infer/desired_state.h"
#include "infer/runtimes/runtime.h"

namespace lathe::infer {

struct LoadedModel {
  std::unique_ptr<Model> model;
  std::chrono::nanoseconds warm_run{};  ///< what one row takes once it is warm
  std::string stamp;                    ///< of its files, which were right then
  std::int64_t bytes = 0;               ///< as `bytes_of`
};

/// Checks the digests of the model's files, loads it, runs it once with zeros, and tries what its configuration asks
/// for (warm_up.h). Blocks for as long as that takes. Files that were right at this stamp, and have it still, are not
/// checked again. Errors: `invalid` with a sentence for the person who deploys it; `unavailable` when a library is
/// missing.
Result<LoadedModel> load_model(const DesiredModel& wanted, const std::string& right_at = {});

/// What the model's files look like without reading them: another one once they were written, moved or mended.
std::string stamp_of(const DesiredModel& wanted);

/// What the model takes in memory, told by its file (of ONNX, by all files, as its tensors may lie in others): for most
/// a lower estimate.
std::int64_t bytes_of(const DesiredModel& wanted);

/// Whether the model's files are those that were registered. Blocks. Errors: `invalid`, as above.
Result<void> check_files(const DesiredModel& wanted);

/// Loads and runs the file alone, in the process that `try_apart` starts.
void try_model(const std::string& format, const std::filesystem::path& file);

}  // namespace lathe::infer
