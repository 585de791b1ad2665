#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "infer/stats.h"

/// Triton's trace extension: when the phases of some predictions began and ended.
namespace lathe::infer {

/// What is traced; of a model, what is not set there is as for all.
struct TraceSettings {
  std::optional<bool> timestamps;             ///< trace_level: TIMESTAMPS, else OFF
  std::optional<std::int64_t> rate;           ///< of so many predictions one is traced; 1000
  std::optional<std::int64_t> count;          ///< so many more are traced; -1: without end
  std::optional<std::int64_t> log_frequency;  ///< so many traces go to the log together; 0: none do
};

/// Those of them that are named, each with its value or with none: then it is as if it were never set.
struct TraceChange {
  std::optional<std::optional<bool>> timestamps;
  std::optional<std::optional<std::int64_t>> rate, count, log_frequency;
};

/// The settings, and the last traces, of this process. Thread-safe.
class Traces {
 public:
  /// Whether anything is traced: the one question that each prediction asks.
  bool on() const { return on_.load(std::memory_order_relaxed); }
  /// A prediction that was answered just now. `deployment`: its name, "ENDPOINT.DEPLOYMENT".
  void add(std::string_view deployment, std::string_view version, int status, const Timing& timing);

  /// As JSON, or as gRPC's message. `model`: "ENDPOINT", "ENDPOINT.DEPLOYMENT", or empty: for all.
  std::string settings_json(const std::string& model) const;
  std::string settings_message(const std::string& model) const;
  /// Errors: `invalid`, naming the setting.
  Result<void> change(const std::string& model, std::string_view json);
  Result<void> change_by_message(const std::string& model, std::string_view message);

  /// The last 1,000, oldest first, as Triton writes them, but for the status and the time, which is since 1970.
  std::string json(const std::string& model) const;

 private:
  struct Scope {
    TraceSettings set;
    std::uint64_t seen = 0;
    std::uint64_t unlogged = 0;
  };
  struct Trace {
    std::string model;
    std::string text;
  };

  TraceSettings effective(const std::string& model) const;
  void apply(const std::string& model, const TraceChange& change);

  std::atomic<bool> on_{false};
  mutable std::mutex mutex_;
  std::map<std::string, Scope, std::less<>> scopes_;  ///< by model; "": all
  std::deque<Trace> traces_;
  std::uint64_t last_id_ = 0;
};

Traces& traces();

}  // namespace lathe::infer
