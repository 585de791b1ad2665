#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "compute/scheduler.h"

/// What the scheduler was told and decided, as lines of JSON: a snapshot, then one line an event.
namespace lathe::compute {

/// One line, without its end.
std::string print_event(const Event& event, Time at, const std::vector<Decision>& decisions);
std::string print_snapshot(const Snapshot& snapshot);

struct Recorded {
  Time at{};
  Event event;
  std::vector<Decision> decisions;
};
struct Recording {
  Snapshot start;
  std::vector<Recorded> events;
  std::map<std::size_t, Snapshot> restarts;  ///< where the server began anew: before which of the events, and with what
};
/// A last line that is cut off is left out. Errors: `not_found`; `invalid`, naming the line.
Result<Recording> read_recording(const std::filesystem::path& file);

/// Appends to FOLDER/events.jsonl, over restarts too. A file that is full becomes events.1.jsonl, in place of the one before.
/// Nothing waits for the disk: a crash may lose the last lines, and on a full disk recording stops and says so. Not thread-safe.
class Recorder {
 public:
  /// Errors: as for making folders.
  static Result<std::unique_ptr<Recorder>> open(const std::filesystem::path& folder);

  /// Goes on with the file that is there, from this snapshot on.
  void go_on(const Snapshot& snapshot);
  /// Begins a new file.
  void begin(const Snapshot& snapshot);
  void add(const Event& event, Time at, const std::vector<Decision>& decisions);
  /// Time for a new file.
  bool full() const { return bytes_ > most_; }

 private:
  static constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;
  explicit Recorder(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void open_file(int flags);
  void write(std::string line);

  std::filesystem::path folder_;
  Fd file_;
  std::uint64_t bytes_ = 0;
  std::uint64_t most_ = kMostBytes;  ///< more, where a snapshot alone takes that much
};

}  // namespace lathe::compute
