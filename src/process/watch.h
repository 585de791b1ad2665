#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "base/result.h"

namespace lathe::process {

/// Tells when runs end, however they do: also a killed shim. One thread for all, no polling (a pidfd of each shim).
class Watch {
 public:
  /// `on_end(folder)` is called once for each folder added, on the Watch's own thread: `observe` says what happened.
  /// It must not block for long and must not throw; it may call `add` and `remove`.
  explicit Watch(std::function<void(const std::filesystem::path& folder)> on_end);
  /// Waits for a callback that is under way.
  ~Watch();

  /// Thread-safe. A run that has ended already is told too. A folder that is being watched is not added twice.
  /// Errors: `exhausted` without file descriptors.
  Result<void> add(const std::filesystem::path& folder);
  /// Thread-safe. A callback that is under way is not waited for.
  void remove(const std::filesystem::path& folder);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::process
