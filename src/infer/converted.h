#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "infer/load_model.h"

/// scikit-learn's models that came as pickled Python. A worker, which may read them, writes them in the native form
/// (python/lathe/models/sklearn_native.py); from then on predictions need no Python. The form is kept beside the
/// desired state, so that a data plane that starts again needs no worker either.
namespace lathe::infer {

/// Loads the form that was kept for this model, made in the same environment. Blocks. nullopt: none, or it is damaged.
std::optional<LoadedModel> load_converted(const std::filesystem::path& folder, const DesiredModel& wanted);

/// Keeps what a worker wrote and loads it, which compares its answers on sample rows with the original's. Blocks.
/// nullopt: they differ, or it cannot be kept or loaded; the log says why.
std::optional<LoadedModel> convert(const std::filesystem::path& folder, const DesiredModel& wanted,
                                   std::string_view form);

/// Removes the forms that none of these models needs.
void forget_converted(const std::filesystem::path& folder, const DesiredState& desired);

}  // namespace lathe::infer
