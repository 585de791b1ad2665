#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace lathe::infer {

/// Where the time of one request went.
struct Timing {
  std::chrono::nanoseconds queue{};    ///< waiting for its turn
  std::chrono::nanoseconds parse{};    ///< body -> tensors
  std::chrono::nanoseconds compute{};  ///< tensors -> tensors
  std::chrono::nanoseconds write{};    ///< tensors -> body
  enum class Cache : std::uint8_t { none, hit, miss } cache = Cache::none;
  std::chrono::nanoseconds lookup{};  ///< in the response cache, and what was missing put there
  bool batched = false;               ///< the run of the model was that of a batch

  std::chrono::nanoseconds work() const { return parse + compute + write; }
};

/// Measures one thing after the other.
class Watch {
 public:
  using Clock = std::chrono::steady_clock;
  Watch() : last_(Clock::now()) {}
  std::chrono::nanoseconds lap() {
    const auto now = Clock::now();
    return now - std::exchange(last_, now);
  }

 private:
  Clock::time_point last_;
};

/// One run of the model on the rows of several requests.
struct BatchRun {
  std::size_t rows = 0;
  std::chrono::nanoseconds input{};   ///< joining
  std::chrono::nanoseconds infer{};   ///< the model itself
  std::chrono::nanoseconds output{};  ///< cutting
};

/// Sums over the batches of one size.
struct BatchTotals {
  std::uint64_t count = 0;
  std::uint64_t input_ns = 0;
  std::uint64_t infer_ns = 0;
  std::uint64_t output_ns = 0;
};

/// Sums since the process started.
struct Totals {
  std::uint64_t succeeded = 0;
  std::uint64_t runs = 0;  ///< of the model
  std::uint64_t failed = 0;
  std::uint64_t succeeded_ns = 0;  ///< with waiting
  std::uint64_t failed_ns = 0;
  std::array<std::uint64_t, 4> phase_ns{};  ///< of those that succeeded and ran: queue, parse, compute, write
  std::uint64_t hits = 0;                   ///< that succeeded without a run: from the response cache
  std::uint64_t misses = 0;
  std::uint64_t hit_ns = 0;   ///< to look up
  std::uint64_t miss_ns = 0;  ///< to look up and to put there
  std::uint64_t rows = 0;     ///< that were computed
  std::uint64_t last_ms = 0;  ///< when it last succeeded, since 1970; 0: never
};

/// Counters of one deployment since the process started. Thread-safe.
class Stats {
 public:
  static constexpr std::array<std::string_view, 4> kPhases{"queue", "parse", "compute", "write"};

  /// What became of a copy of a request that an endpoint mirrors here.
  enum class Copy { computed, dropped };
  void add_copy(Copy copy) { copies_[static_cast<std::size_t>(copy)].fetch_add(1, std::memory_order_relaxed); }

  /// A request that was answered with this HTTP status.
  void add(int status, const Timing& timing, std::size_t rows);
  void add_batch(const BatchRun& run);
  Totals totals() const;
  /// By size, in rows.
  std::map<std::size_t, BatchTotals> batches() const;

  /// Lines of Prometheus' text form.
  void append_requests(std::string& out, const std::string& labels) const;
  /// Members of a JSON object, for who watches the deployment: counts, and the times of requests that succeeded, with
  /// their waiting, as pairs of the longest time of a bucket (1/16 wider than its shortest, in microseconds) and a
  /// count; and when the counting began, since 1970.
  void append_summary(std::string& out) const;
  /// Nothing where there was no copy.
  void append_copies(std::string& out, const std::string& labels) const;
  void append_durations(std::string& out, const std::string& labels) const;
  void append_phases(std::string& out, const std::string& labels) const;

 private:
  using Counter = std::atomic<std::uint64_t>;

  /// How many took how long.
  class Histogram {
   public:
    void add(std::chrono::nanoseconds took);
    void append(std::string& out, std::string_view name, const std::string& labels) const;
    std::uint64_t sum_ns() const { return sum_ns_.load(std::memory_order_relaxed); }

   private:
    /// Upper bounds, in microseconds.
    static constexpr std::array<std::int64_t, 16> kBounds{
        1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10'000, 50'000, 250'000, 1'000'000, 5'000'000};

    std::array<Counter, kBounds.size() + 1> counts_{};
    Counter sum_ns_{0};
  };

  /// Of times in microseconds: 16 buckets for each power of two, one for each below 32.
  static constexpr std::size_t kFine = 16;
  static constexpr std::size_t kLatencies = kFine * 28;

  static constexpr std::array<int, 7> kStatuses{200, 400, 413, 415, 500, 503, 504};

  const std::int64_t began_us_ =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::array<Counter, kStatuses.size() + 1> by_status_{};
  Histogram work_;
  std::array<Histogram, kPhases.size()> phases_;  ///< of those that succeeded
  std::array<Counter, kLatencies> latencies_{};
  Counter latency_us_{0};
  Counter errors_{0};
  Counter failed_ns_{0};
  Counter hits_{0};
  Counter hit_ns_{0};
  Counter hit_total_ns_{0};  ///< of whole requests
  Counter misses_{0};
  Counter miss_ns_{0};
  Counter batched_{0};  ///< requests that succeeded in batches
  Counter batch_runs_{0};
  mutable std::mutex mutex_;
  std::map<std::size_t, BatchTotals> batches_;
  Counter rows_{0};
  std::array<Counter, 2> copies_{};
  Counter last_ms_{0};
};

}  // namespace lathe::infer
