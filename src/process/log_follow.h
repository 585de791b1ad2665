#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

/// Reading what a supervised program printed. Offsets count the bytes of all its output, also of parts that were
/// rotated away, so that an offset stays good for ever.
namespace lathe::process {

struct LogPiece {
  std::uint64_t begin = 0;    ///< offset of the first byte; past the wanted one when earlier output was dropped
  std::uint64_t next = 0;     ///< where to read on
  std::string bytes;          ///< empty at the present end
  std::uint64_t dropped = 0;  ///< bytes between the wanted offset and `begin` that rotation has dropped
};

/// Up to `limit_bytes` from `offset` on. After a gap it begins at a whole line. No log yet: an empty piece.
/// Thread-safe; errors: `internal`, `forbidden`.
Result<LogPiece> read_log(const std::filesystem::path& folder, std::uint64_t offset, std::size_t limit_bytes = 1 << 18);

/// "[lathe] 123 bytes of earlier output were dropped\n": what to show in place of a gap.
std::string dropped_note(std::uint64_t bytes);

/// The offsets N of the files "log.N" in a run's folder, in order: the parts before the growing one.
Result<std::vector<std::uint64_t>> earlier_parts(const std::filesystem::path& folder);

/// The last up to `lines` lines, at most `limit_bytes` of them: for saying why something failed.
Result<std::string> last_lines(const std::filesystem::path& folder, std::size_t lines, std::size_t limit_bytes = 8192);

/// Tells followers that a log has grown or that files in the run's folder changed (exit.json is there). One thread and
/// one inotify instance for all followers.
class LogWatch {
 public:
  LogWatch();
  ~LogWatch();

  /// Ends the subscription when it goes. Must not outlive the LogWatch. Its destructor waits for a `wake` under way,
  /// except on the LogWatch's own thread.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept;
    Subscription& operator=(Subscription&& other) noexcept;
    ~Subscription();

   private:
    friend class LogWatch;
    LogWatch* watch_ = nullptr;
    std::uint64_t id_ = 0;
  };

  /// Calls `wake` on the LogWatch's thread after each change; it must not block and not throw, and calls for quick
  /// changes are merged. Read once after subscribing, so that nothing is missed. Thread-safe. Errors: `exhausted`,
  /// `not_found`.
  Result<Subscription> subscribe(const std::filesystem::path& folder, std::function<void()> wake);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::process
