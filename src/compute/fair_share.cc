#include "compute/fair_share.h"

#include <algorithm>

namespace lathe::compute {
namespace {

/// A half-life of 30 days on the whole machine is 2^51.2 in millionths times milliseconds: with this, sums stay below 2^61.
constexpr int kMostPeriods = 8;
constexpr int kForgotten = 40;

}  // namespace

std::int64_t FairShare::charge(std::int64_t share, Time from, Time to) const {
  std::int64_t sum = 0;
  const auto length = Time::duration(half_life_).count();
  for (auto period = std::max(period_of(from), period_ - kForgotten); period * length < micros(to); ++period) {
    const auto begin = std::max(micros(from), period * length);
    const auto end = std::min(micros(to), (period + 1) * length);
    if (end <= begin) continue;
    const auto use = (end - begin) / 1000 * share;
    sum += period >= period_ ? use << (period - period_) : use >> (period_ - period);
  }
  return sum;
}

int FairShare::advance(Time now) {
  const auto here = period_of(now);
  if (period_ < 0) period_ = here;
  if (here - period_ < kMostPeriods) return 0;
  const auto shift = here - period_;
  period_ = here;
  return static_cast<int>(std::min<std::int64_t>(shift, 63));
}

double dominant_share(const Rules& rules, std::int64_t nodes, const Resources& machine) {
  if (rules.local) return 1.0 / static_cast<double>(std::max<std::int64_t>(rules.slots, 1));
  const auto part = [&](double has, double all) { return all > 0 ? has * static_cast<double>(nodes) / all : 0; };
  const auto& node = rules.node;
  return std::max({part(static_cast<double>(node.cores), static_cast<double>(machine.cores)),
                   part(static_cast<double>(node.memory_bytes), static_cast<double>(machine.memory_bytes)),
                   part(node.gpu_count(), machine.gpu_count())});
}

}  // namespace lathe::compute
