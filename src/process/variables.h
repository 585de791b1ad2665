#pragma once

#include <string>

#include "base/result.h"
#include "json/json.h"

/// What no program can be given is refused where it is asked for, not when the program starts.
namespace lathe::process {

/// A scalar as a command line shows it: Azure writes booleans as Python does. Errors: `invalid`, beginning with `path`.
Result<std::string> word_of(const json::Value& value, const std::string& path);

/// One word of a command line. Errors: `invalid`, beginning with `path`.
Result<void> check_word(const std::string& text, const std::string& path);

/// A variable of the field environment_variables. Errors: `invalid`, naming it.
Result<void> check_variable(const std::string& name, const std::string& value);

}  // namespace lathe::process
