#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "environments/modules.h"

namespace lathe::environments {

struct Import {
  std::string module;  ///< with its dots
  int line = 0;
};

/// The imports that running the Python file `source` executes for certain: at its top level, or under
/// `if __name__ == "__main__"`; none in functions, in other conditions or in `try`, and no relative ones.
std::vector<Import> imports_of(std::string_view source);

/// A folder of code: its files, and the text of one of them.
struct CodeFolder {
  std::set<std::string> files;
  std::function<std::optional<std::string>(const std::string& path)> read;
};

/// A module from outside the code, and where the code wants it: "train.py:3".
struct Needed {
  std::string module;  ///< the part before the first dot
  std::string where;
};

/// What the scripts that `command` names need, those that they import from `code` included. Nothing when the command
/// brings modules along by itself (`pip install`, an `activate`, PYTHONPATH).
std::vector<Needed> needs_of(const std::string& command, const CodeFolder& code);

/// "cv2 (train.py:3), foo (lib/x.py:1)" of those that `modules` lacks; empty: none.
std::string missing_of(const std::vector<Needed>& needs, const Modules& modules);

}  // namespace lathe::environments
