#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::infer {

/// `lathe-infer --try-model FORMAT FILE` loads one model, runs it once, and ends.
constexpr std::string_view kTryFlag = "--try-model";

/// Loads the model in a process of its own first: a damaged file can crash the library that reads it, and with it the
/// predictions of everybody else. What that process merely refuses is left to the real load, which says why.
/// Errors: `invalid` when the process was killed by a signal or did not end in time.
Result<void> try_apart(const std::string& format, const std::filesystem::path& file);

}  // namespace lathe::infer
