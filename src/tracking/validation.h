#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

/// MLflow's rules for names and lengths, with its texts. All errors are `invalid`.
namespace lathe::tracking {

constexpr std::size_t kKeyLimit = 250;
constexpr std::size_t kParamValueLimit = 6000;
constexpr std::size_t kTagValueLimit = 8000;
constexpr std::size_t kExperimentTagValueLimit = 5000;
constexpr std::size_t kExperimentNameLimit = 500;

/// Characters, not bytes.
std::size_t count_characters(std::string_view utf8);
/// The first `limit` characters.
std::string_view first_characters(std::string_view utf8, std::size_t limit);

/// `kind` is "metric", "parameter" or "tag": letters, digits, _ - . space : / and, as a path, no other name than
/// itself. `list`, `index`: where it stood in a request, for the error: "metrics[3].name".
Result<void> check_key(std::string_view kind, std::string_view key, std::string_view list = {}, std::size_t index = 0);
/// "'key' exceeds the maximum length of 250 characters"
Result<void> check_length(std::string_view what, std::string_view value, std::size_t limit);
/// A text that the store, JSON and people can hold: UTF-8 without NUL.
Result<void> check_text(std::string_view what, std::string_view value);

Result<void> check_run_id(std::string_view run_id);
Result<void> check_experiment_name(std::string_view name);
/// Decimal digits, as all of our experiments' ids are. Errors: `invalid` — not MLflow's form; `not_found` — no such
/// number.
Result<std::int64_t> parse_experiment_id(std::string_view text);

/// As posixpath.normpath.
std::string normal_path(std::string_view path);

}  // namespace lathe::tracking
