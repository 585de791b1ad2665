#include "infer/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace lathe::infer {

void Stats::add(int status, std::chrono::nanoseconds took) {
  const auto place = std::find(kStatuses.begin(), kStatuses.end(), status) - kStatuses.begin();
  by_status_[static_cast<std::size_t>(place)].fetch_add(1, std::memory_order_relaxed);
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), (took.count() + 999) / 1000) - kBounds.begin();
  by_duration_[static_cast<std::size_t>(bound)].fetch_add(1, std::memory_order_relaxed);
  nanoseconds_.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
}

void Stats::append_requests(std::string& out, const std::string& labels) const {
  for (std::size_t i = 0; i < by_status_.size(); ++i) {
    const auto count = by_status_[i].load(std::memory_order_relaxed);
    if (count == 0 && i != 0) continue;
    const auto code = i < kStatuses.size() ? std::to_string(kStatuses[i]) : "other";
    fmt::format_to(std::back_inserter(out), "lathe_infer_requests_total{{{},code=\"{}\"}} {}\n", labels, code, count);
  }
}

void Stats::append_durations(std::string& out, const std::string& labels) const {
  static constexpr auto kName = "lathe_infer_request_duration_seconds";
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < by_duration_.size(); ++i) {
    sum += by_duration_[i].load(std::memory_order_relaxed);
    const auto bound = i < kBounds.size() ? fmt::format("{}", static_cast<double>(kBounds[i]) / 1e6) : "+Inf";
    fmt::format_to(std::back_inserter(out), "{}_bucket{{{},le=\"{}\"}} {}\n", kName, labels, bound, sum);
  }
  fmt::format_to(std::back_inserter(out), "{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", kName, labels,
                 static_cast<double>(nanoseconds_.load(std::memory_order_relaxed)) / 1e9, kName, labels, sum);
}

}  // namespace lathe::infer
