#pragma once

#include <string>

#include "base/result.h"

/// What no program can be given is refused where it is asked for, not when the program starts.
namespace lathe::process {

/// One word of a command line. Errors: `invalid`, beginning with `path`.
Result<void> check_word(const std::string& text, const std::string& path);

/// A variable of the field environment_variables. Errors: `invalid`, naming it.
Result<void> check_variable(const std::string& name, const std::string& value);

}  // namespace lathe::process
