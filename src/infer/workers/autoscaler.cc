#include "infer/workers/autoscaler.h"

#include <algorithm>
#include <cmath>

namespace lathe::infer {

void LoadMeter::advance(Time now) {
  sum_ += level_ * std::chrono::duration<double>(now - last_).count();
  last_ = now;
}

void LoadMeter::add(Time now, int change) {
  advance(now);
  level_ += change;
}

double LoadMeter::take(Time now) {
  advance(now);
  const auto span = std::chrono::duration<double>(now - since_).count();
  const auto average = span > 0 ? sum_ / span : level_;
  sum_ = 0;
  since_ = now;
  return average;
}

void Autoscaler::hold(Time now, int count) {
  while (!needed_.empty() && needed_.back().second <= count) needed_.pop_back();
  needed_.emplace_back(now, count);
}

int Autoscaler::decide(Time now, double load) {
  constexpr double kRounding = 1e-9;
  const auto needed = std::ceil(load * 100 / scale_.target_percent - kRounding);
  const auto least = std::max(scale_.least, load > 0 ? 1 : 0);
  hold(now, static_cast<int>(std::clamp<double>(needed, least, std::max(least, scale_.most))));
  while (needed_.front().first + std::chrono::milliseconds(scale_.quiet_ms) <= now && needed_.size() > 1)
    needed_.pop_front();
  return needed_.front().second;
}

}  // namespace lathe::infer
