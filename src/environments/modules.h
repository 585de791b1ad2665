#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace lathe::environments {

/// Names that an interpreter can import, at the top level.
struct Modules {
  std::set<std::string, std::less<>> names;
  bool open = false;  ///< a finder may know more: nothing can be called missing
  std::vector<std::filesystem::path> folders;
  std::shared_ptr<const Modules> below;  ///< of the system's Python, which a virtual environment lies over
  bool has(std::string_view name) const { return open || names.contains(name) || (below && below->has(name)); }
};

/// Lists of modules, each read once. Thread-safe.
class ModuleLists {
 public:
  ModuleLists(std::filesystem::path script, std::filesystem::path root)
      : script_(std::move(script)), root_(std::move(root)) {}

  /// What the system's Python can import now: asked again when one of its folders has changed. Null: it cannot be told.
  std::shared_ptr<const Modules> of_system();
  /// What the environment in `folder` had when it was built, and what the system's Python has now.
  std::shared_ptr<const Modules> of(const std::filesystem::path& folder);

 private:
  const std::filesystem::path script_;
  const std::filesystem::path root_;
  std::mutex mutex_;
  std::shared_ptr<const Modules> system_;
  std::int64_t system_asked_us_ = 0;
  std::map<std::string, std::shared_ptr<const Modules>> built_;
};

}  // namespace lathe::environments
