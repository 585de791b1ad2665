#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

/// Triton's extension for the log. Of its settings Lathe's log knows how much is written: debug lines with
/// log_verbose_level, else those that log_info, log_warning and log_error name. Thread-safe.
namespace lathe::infer {

/// Changes what the body, or the message, names. Errors: `invalid`, naming the setting.
Result<void> change_log(std::string_view json);
Result<void> change_log_by_message(std::string_view message);
/// How it is now.
std::string log_json();
std::string log_message();

}  // namespace lathe::infer
