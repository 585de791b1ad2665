#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "base/file.h"
#include "infer/capture/capture.h"

namespace lathe::infer {

struct CaptureOptions {
  std::filesystem::path folder;                       ///< for ENDPOINT/DEPLOYMENT/COLLECTION/YYYY/MM/DD/HH/*.jsonl
  std::chrono::seconds age{60};                       ///< a file gets no more lines then, and lies where readers look
  std::size_t file_bytes = std::size_t{64} << 20;     ///< the same
  std::size_t waiting_bytes = std::size_t{32} << 20;  ///< of predictions that are not written yet
  std::uint64_t reserve_bytes = std::uint64_t{64} << 20;              ///< of the disk, which are left free
  std::chrono::milliseconds pause = std::chrono::milliseconds{5000};  ///< until a disk that was full is tried again
};

/// Writes captured predictions on a thread of its own, so that none waits for a disk. Thread-safe.
///
/// A file is written in FOLDER/.open, whole lines at a time; once it is full or old enough it is synced and moved to
/// where readers look, and never changes again. Killed, the process loses what still waited,
/// and the line that it was writing: the next one moves what it left behind, but for that line.
class CaptureWriter {
 public:
  CaptureWriter() = default;
  /// As `finish`.
  ~CaptureWriter() { finish(); }
  CaptureWriter(const CaptureWriter&) = delete;
  CaptureWriter& operator=(const CaptureWriter&) = delete;

  /// From now on there is something to write to; what another process left is moved. Call once.
  void start(CaptureOptions options);
  /// Writes what waits, closes all files, and takes nothing more.
  void finish();

  /// For a deployment that captures; goes on with the one before where nothing has changed. Null before `start`.
  std::shared_ptr<const Capture> open(const std::string& endpoint, const DesiredDeployment& desired);
  /// False: too much waits, or the disk is full. Never blocks for a disk.
  bool add(CapturedPrediction prediction);

 private:
  using Clock = std::chrono::steady_clock;

  struct File {
    Fd fd;
    std::filesystem::path path;  ///< below .open
    std::size_t bytes = 0;
    Clock::time_point since;
    std::shared_ptr<CaptureCounts> counts;
    std::string pending;  ///< lines that are not written yet
    std::uint64_t pending_lines = 0;
  };
  using Files = std::map<std::string, File>;  ///< by "ENDPOINT.DEPLOYMENT.COLLECTION.YYYY-MM-DD-HH"

  void run();
  void print(const CapturedPrediction& prediction);
  void flush(const std::string& name, File& file);
  Result<void> write(const std::string& name, File& file);
  /// Closes those whose time is over, or all.
  void close_files(bool all);
  /// Moves the file to where readers look. Errors: as errno_error's.
  Result<void> publish(int fd, const std::filesystem::path& path) const;
  void take_left_behind() const;
  void failed(const Error& error);
  void say_refused();

  CaptureOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<CapturedPrediction> waiting_;
  std::size_t waiting_bytes_ = 0;
  bool started_ = false;
  bool stopping_ = false;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const Capture>> captures_;
  std::atomic<bool> full_{false};
  std::atomic<std::uint64_t> refused_{0};  ///< predictions, since it was said
  // Of the thread alone.
  Files files_;
  Clock::time_point try_again_;
  bool failing_ = false;
  Clock::time_point say_again_;
  std::thread thread_;
};

/// That of this process.
CaptureWriter& capture_writer();

}  // namespace lathe::infer
