#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace lathe::infer {

/// Counters of one deployment since the process started. Thread-safe.
class Stats {
 public:
  void add(int status, std::chrono::nanoseconds took);
  void append_requests(std::string& out, const std::string& labels) const;
  void append_durations(std::string& out, const std::string& labels) const;

 private:
  static constexpr std::array<int, 7> kStatuses{200, 400, 413, 415, 500, 503, 504};
  /// Upper bounds of the histogram, in microseconds.
  static constexpr std::array<std::int64_t, 14> kBounds{10,   25,   50,     100,    250,     500,       1000,
                                                        2500, 5000, 10'000, 50'000, 250'000, 1'000'000, 5'000'000};

  std::array<std::atomic<std::uint64_t>, kStatuses.size() + 1> by_status_{};
  std::array<std::atomic<std::uint64_t>, kBounds.size() + 1> by_duration_{};
  std::atomic<std::uint64_t> nanoseconds_{0};
};

}  // namespace lathe::infer
