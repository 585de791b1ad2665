#include "infer/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

namespace lathe::infer {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kModelError = 424;  ///< as Azure's endpoints tell of a script's own failure

/// That are not the client's.
bool is_error(int status) {
  return status >= 500 || status == kModelError;
}

std::uint64_t number(std::chrono::nanoseconds took) {
  return static_cast<std::uint64_t>(took.count());
}

}  // namespace

void Stats::Histogram::add(std::chrono::nanoseconds took) {
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), (took.count() + 999) / 1000) - kBounds.begin();
  counts_[static_cast<std::size_t>(bound)].fetch_add(1, kRelaxed);
  sum_ns_.fetch_add(static_cast<std::uint64_t>(took.count()), kRelaxed);
}

void Stats::Histogram::append(std::string& out, std::string_view name, const std::string& labels) const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    sum += counts_[i].load(kRelaxed);
    const auto bound = i < kBounds.size() ? fmt::format("{}", static_cast<double>(kBounds[i]) / 1e6) : "+Inf";
    fmt::format_to(std::back_inserter(out), "{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bound, sum);
  }
  fmt::format_to(std::back_inserter(out), "{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels,
                 static_cast<double>(sum_ns()) / 1e9, name, labels, sum);
}

void Stats::add(int status, const Timing& timing, std::size_t rows) {
  const auto place = std::find(kStatuses.begin(), kStatuses.end(), status) - kStatuses.begin();
  by_status_[static_cast<std::size_t>(place)].fetch_add(1, kRelaxed);
  work_.add(timing.work());
  if (is_error(status)) errors_.fetch_add(1, kRelaxed);
  if (status != 200) {
    failed_ns_.fetch_add(number(timing.queue + timing.work()), kRelaxed);
    return;
  }
  const auto us = static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, (timing.queue + timing.lookup + timing.work()).count() + 999) / 1000);
  // The fine digit of what is above 31 has five bits, the first of which is set.
  const auto power = std::max(static_cast<int>(std::bit_width(us)) - 5, 0);
  const auto bucket = kFine * static_cast<std::size_t>(power) + static_cast<std::size_t>(us >> power);
  latencies_[std::min(bucket, kLatencies - 1)].fetch_add(1, kRelaxed);
  latency_us_.fetch_add(us, kRelaxed);
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  last_ms_.store(static_cast<std::uint64_t>(now.count()), kRelaxed);
  if (timing.cache == Timing::Cache::hit) {
    hits_.fetch_add(1, kRelaxed);
    hit_ns_.fetch_add(number(timing.lookup), kRelaxed);
    hit_total_ns_.fetch_add(number(timing.work() + timing.lookup), kRelaxed);
    return;
  }
  if (timing.cache == Timing::Cache::miss) {
    misses_.fetch_add(1, kRelaxed);
    miss_ns_.fetch_add(number(timing.lookup), kRelaxed);
  }
  if (timing.batched) batched_.fetch_add(1, kRelaxed);
  phases_[0].add(timing.queue);
  phases_[1].add(timing.parse);
  phases_[2].add(timing.compute);
  phases_[3].add(timing.write);
  rows_.fetch_add(rows, kRelaxed);
}

void Stats::add_batch(const BatchRun& run) {
  batch_runs_.fetch_add(1, kRelaxed);
  const std::lock_guard lock(mutex_);
  auto& sums = batches_[run.rows];
  ++sums.count;
  sums.input_ns += number(run.input);
  sums.infer_ns += number(run.infer);
  sums.output_ns += number(run.output);
}

std::map<std::size_t, BatchTotals> Stats::batches() const {
  const std::lock_guard lock(mutex_);
  return batches_;
}

Totals Stats::totals() const {
  Totals out;
  out.succeeded = by_status_[0].load(kRelaxed);
  for (std::size_t i = 1; i < by_status_.size(); ++i) out.failed += by_status_[i].load(kRelaxed);
  out.failed_ns = failed_ns_.load(kRelaxed);
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    out.phase_ns[i] = phases_[i].sum_ns();
    out.succeeded_ns += out.phase_ns[i];
  }
  out.hits = hits_.load(kRelaxed);
  out.hit_ns = hit_ns_.load(kRelaxed);
  out.misses = misses_.load(kRelaxed);
  out.miss_ns = miss_ns_.load(kRelaxed);
  out.succeeded_ns += hit_total_ns_.load(kRelaxed);
  // Each of the others was one run.
  const auto in_batches = batched_.load(kRelaxed) + out.hits;
  out.runs = batch_runs_.load(kRelaxed) + (out.succeeded > in_batches ? out.succeeded - in_batches : 0);
  out.rows = rows_.load(kRelaxed);
  out.last_ms = last_ms_.load(kRelaxed);
  return out;
}

void Stats::append_requests(std::string& out, const std::string& labels) const {
  for (std::size_t i = 0; i < by_status_.size(); ++i) {
    const auto count = by_status_[i].load(kRelaxed);
    if (count == 0 && i != 0) continue;
    const auto code = i < kStatuses.size() ? std::to_string(kStatuses[i]) : "other";
    fmt::format_to(std::back_inserter(out), "lathe_infer_requests_total{{{},code=\"{}\"}} {}\n", labels, code, count);
  }
}

void Stats::append_summary(std::string& out) const {
  std::uint64_t requests = 0;
  for (const auto& each : by_status_) requests += each.load(kRelaxed);
  const auto succeeded = by_status_[0].load(kRelaxed);
  fmt::format_to(std::back_inserter(out), R"("requests":{},"errors":{},"succeeded":{},"total_us":{},"latency_us":{{)",
                 requests, errors_.load(kRelaxed), succeeded, latency_us_.load(kRelaxed));
  bool first = true;
  for (std::size_t i = 0; i < latencies_.size(); ++i) {
    const auto count = latencies_[i].load(kRelaxed);
    if (count == 0) continue;
    const auto power = i < 2 * kFine ? 0 : i / kFine - 1;
    const auto longest = ((i - kFine * power + 1) << power) - 1;
    fmt::format_to(std::back_inserter(out), R"({}"{}":{})", std::exchange(first, false) ? "" : ",", longest, count);
  }
  fmt::format_to(std::back_inserter(out), R"(}},"began_us":{})", began_us_);
}

void Stats::append_copies(std::string& out, const std::string& labels) const {
  constexpr std::array<std::string_view, 2> kOutcomes{"computed", "dropped"};
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (const auto count = copies_[i].load(kRelaxed); count > 0)
      fmt::format_to(std::back_inserter(out), "lathe_infer_mirrored_requests_total{{{},outcome=\"{}\"}} {}\n", labels,
                     kOutcomes[i], count);
}

void Stats::append_durations(std::string& out, const std::string& labels) const {
  work_.append(out, "lathe_infer_request_duration_seconds", labels);
}

void Stats::append_phases(std::string& out, const std::string& labels) const {
  for (std::size_t i = 0; i < phases_.size(); ++i)
    phases_[i].append(out, "lathe_infer_phase_duration_seconds", labels + ",phase=\"" + std::string(kPhases[i]) + "\"");
}

}  // namespace lathe::infer
