#include "infer/capture/capture_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

constexpr auto kOpen = ".open";
constexpr int kFileMode = 0644;  // jobs read them
constexpr int kFolderMode = 0755;
constexpr std::chrono::milliseconds kTick{1000};
constexpr std::chrono::minutes kSayAgain{1};
constexpr std::size_t kIdBytes = 16;
/// Parts of the name of a file in .open: endpoint, deployment, collection, period, number, "jsonl".
constexpr std::size_t kNameParts = 6;

/// The time up to the hour (year, month, day, minute): "2026-11-26-17".
std::string period_of(std::int64_t time_us, std::string_view rate) {
  auto text = to_iso8601(from_micros(time_us));  // 2026-11-26T17:05:...
  std::replace(text.begin(), text.end(), 'T', '-');
  std::replace(text.begin(), text.end(), ':', '-');
  constexpr std::size_t kMinute = 16;
  const auto length = rate == "year"    ? std::size_t{4}
                      : rate == "month" ? std::size_t{7}
                      : rate == "day"   ? std::size_t{10}
                      : rate == "hour"  ? std::size_t{13}
                                        : kMinute;
  return text.substr(0, length);
}

/// E/D/C/2026/11/26/17 of "E.D.C.2026-11-26-17..."; empty: it is not such a name.
fs::path folder_of(const std::string& name) {
  const auto parts = split(name, '.');
  if (parts.size() != kNameParts || parts.back() != "jsonl") return {};
  fs::path out;
  for (std::size_t i = 0; i < 3; ++i) out /= fs::path(parts[i]);
  for (const auto part : split(parts[3], '-')) out /= fs::path(part);
  return out;
}

/// Takes away a last line that was not written to its end. False: nothing is left.
bool cut_torn_line(int fd) {
  std::array<char, 65536> piece;
  auto end = ::lseek(fd, 0, SEEK_END);
  for (auto from = end; from > 0;) {
    const auto size = std::min<off_t>(from, piece.size());
    from -= size;
    if (::pread(fd, piece.data(), static_cast<std::size_t>(size), from) != size) return false;
    const auto at = std::string_view(piece.data(), static_cast<std::size_t>(size)).rfind('\n');
    if (at == std::string_view::npos) continue;
    const auto whole = from + static_cast<off_t>(at) + 1;
    return whole == end || ::ftruncate(fd, whole) == 0;
  }
  return false;
}

/// FOLDER/A/B of "A/B", which jobs read whatever our own umask is.
Result<void> make_folders(const fs::path& folder, const fs::path& below) {
  LATHE_CHECK(make_folder(folder, kFolderMode));
  auto way = folder;
  for (const auto& part : below) {
    way /= part;
    if (::mkdir(way.c_str(), kFolderMode) == 0)
      ::chmod(way.c_str(), kFolderMode);
    else if (errno != EEXIST)
      return fail(errno_error("cannot make the folder " + way.string()));
  }
  return {};
}

void sync_folder(const fs::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

}  // namespace

void CaptureWriter::start(CaptureOptions options) {
  options_ = std::move(options);
  take_left_behind();
  const std::lock_guard lock(mutex_);
  started_ = true;
  thread_ = std::thread([this] { run(); });
}

void CaptureWriter::finish() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<const Capture> CaptureWriter::open(const std::string& endpoint, const DesiredDeployment& desired) {
  const std::lock_guard lock(mutex_);
  if (!started_ || !desired.capture) return nullptr;
  auto& capture = captures_[{endpoint, desired.name}];
  if (capture && capture->desired == *desired.capture && capture->model_name == desired.model.name &&
      capture->model_version == desired.model.version)
    return capture;
  auto counts = capture ? capture->counts : std::make_shared<CaptureCounts>();
  capture = std::make_shared<const Capture>(endpoint, desired, std::move(counts), *this);
  return capture;
}

bool CaptureWriter::add(CapturedPrediction prediction) {
  if (full_.load(std::memory_order_relaxed)) return false;
  const auto bytes = prediction.bytes();
  {
    const std::lock_guard lock(mutex_);
    if (!started_ || stopping_) return false;
    if (waiting_bytes_ + bytes > options_.waiting_bytes) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    waiting_bytes_ += bytes;
    waiting_.push_back(std::move(prediction));
    if (waiting_.size() > 1) return true;  // it is awake
  }
  changed_.notify_one();
  return true;
}

void CaptureWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto woken = [this] { return stopping_ || !waiting_.empty(); };
    if (files_.empty() && !full_)
      changed_.wait(lock, woken);
    else
      changed_.wait_for(lock, kTick, woken);
    auto taken = std::exchange(waiting_, {});
    const bool ends = stopping_;
    lock.unlock();
    for (const auto& each : taken) print(each);
    for (auto& [name, file] : files_) flush(name, file);
    close_files(ends);
    if (full_ && Clock::now() >= try_again_) full_ = false;
    say_refused();
    std::size_t bytes = 0;
    for (const auto& each : taken) bytes += each.bytes();
    taken.clear();
    lock.lock();
    waiting_bytes_ -= bytes;
    if (ends && waiting_.empty()) return;
  }
}

void CaptureWriter::print(const CapturedPrediction& prediction) {
  const auto& capture = *prediction.capture;
  const auto correlation = random_hex(kIdBytes);
  for (std::size_t i = 0; i < capture.desired.collections.size(); ++i) {
    if ((prediction.collections & (1U << i)) == 0) continue;
    const auto name = capture.endpoint + '.' + capture.deployment + '.' + capture.desired.collections[i].name + '.' +
                      period_of(prediction.time_us, capture.desired.rolling_rate);
    auto& file = files_[name];
    file.counts = capture.counts;
    file.pending += print_line(prediction, i, random_hex(kIdBytes), correlation);
    file.pending += '\n';
    ++file.pending_lines;
    // What waits as lines is bounded, too.
    constexpr std::size_t kFlush = std::size_t{1} << 20;
    if (file.pending.size() >= kFlush) flush(name, file);
  }
}

void CaptureWriter::flush(const std::string& name, File& file) {
  if (file.pending_lines == 0) return;
  const auto written = full_ ? Result<void>(fail(Code::exhausted, "")) : write(name, file);
  if (written) {
    file.counts->written.fetch_add(file.pending_lines, std::memory_order_relaxed);
    if (std::exchange(failing_, false)) log::info("capture goes on, without what came meanwhile");
  } else {
    file.counts->dropped.fetch_add(file.pending_lines, std::memory_order_relaxed);
    if (!full_) failed(written.error());
  }
  file.pending.clear();
  file.pending_lines = 0;
}

Result<void> CaptureWriter::write(const std::string& name, File& file) {
  const auto open = options_.folder / kOpen;
  LATHE_CHECK(make_folder(open, kFolderMode));
  struct statvfs disk {};
  if (::statvfs(open.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < options_.reserve_bytes)
    return fail(Code::exhausted, "less than " + std::to_string(options_.reserve_bytes >> 20) + " MiB of the disk of " +
                                     options_.folder.string() + " are free");
  if (!file.fd) {
    file.path = open / (name + '.' + random_hex(kIdBytes) + ".jsonl");
    file.fd = Fd(::open(file.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, kFileMode));
    if (!file.fd) return fail(errno_error("cannot make " + file.path.string()));
    ::fchmod(file.fd.get(), kFileMode);
    ::flock(file.fd.get(), LOCK_EX | LOCK_NB);  // it is in use
    file.since = Clock::now();
    file.bytes = 0;
  }
  if (auto written = write_all(file.fd.get(), file.pending, file.path.string()); !written) {
    [[maybe_unused]] const auto cut = ::ftruncate(file.fd.get(), static_cast<off_t>(file.bytes));
    return written;
  }
  file.bytes += file.pending.size();
  return {};
}

void CaptureWriter::failed(const Error& error) {
  full_ = true;
  try_again_ = Clock::now() + options_.pause;
  if (!std::exchange(failing_, true))
    log::error("capture has stopped, predictions go on; it is tried again every {} s error=\"{}\"",
               std::chrono::duration_cast<std::chrono::seconds>(options_.pause).count(), error.message);
}

void CaptureWriter::say_refused() {
  if (refused_ == 0 || Clock::now() < say_again_) return;
  log::warn("predictions are not captured since more than {} MiB wait to be written predictions={}",
            options_.waiting_bytes >> 20, refused_.exchange(0));
  say_again_ = Clock::now() + kSayAgain;
}

void CaptureWriter::close_files(bool all) {
  for (auto each = files_.begin(); each != files_.end();) {
    auto& file = each->second;
    const auto age = Clock::now() - file.since;
    if (file.fd && !all && age < options_.age && file.bytes < options_.file_bytes) {
      ++each;
      continue;
    }
    if (file.fd && file.bytes > 0)
      if (const auto moved = publish(file.fd.get(), file.path); !moved)
        log::error("captured data stays where it was written, and is moved when this starts again error=\"{}\"",
                   moved.error().message);
    if (file.fd && file.bytes == 0) ::unlink(file.path.c_str());
    each = files_.erase(each);
  }
}

Result<void> CaptureWriter::publish(int fd, const fs::path& path) const {
  const auto name = path.filename().string();
  const auto below = folder_of(name);
  if (below.empty()) return fail(Code::invalid, path.string() + " has no place");
  if (::fdatasync(fd) != 0) return fail(errno_error("cannot sync " + path.string()));
  const auto folder = options_.folder / below;
  const auto target = folder / fs::path(split(name, '.')[kNameParts - 2]).concat(".jsonl");
  for (int tries = 0;; ++tries) {
    LATHE_CHECK(make_folders(options_.folder, below));
    if (::rename(path.c_str(), target.c_str()) == 0) break;
    // Who hands files on removes folders that are empty, and may have done so just now.
    if (errno != ENOENT || tries > 2) return fail(errno_error("cannot move " + path.string()));
  }
  sync_folder(folder);
  return {};
}

void CaptureWriter::take_left_behind() const {
  std::error_code error;
  for (fs::directory_iterator entry(options_.folder / kOpen, error); !error && entry != fs::directory_iterator{};
       entry.increment(error)) {
    const auto& path = entry->path();
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // another one writes it
    if (!cut_torn_line(fd.get())) {
      ::unlink(path.c_str());
      continue;
    }
    if (const auto moved = publish(fd.get(), path); !moved)
      log::error("captured data stays where it was written error=\"{}\"", moved.error().message);
  }
}

CaptureWriter& capture_writer() {
  static CaptureWriter writer;
  return writer;
}

}  // namespace lathe::infer
