#include "tracking/downsample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

namespace lathe::tracking {
namespace {

/// Adds the places of the least and the greatest of values[begin, end), in their order.
void add_extremes(std::vector<std::size_t>& out, std::span<const double> values, std::size_t begin, std::size_t end) {
  std::optional<std::size_t> least, greatest;
  for (std::size_t i = begin; i < end; ++i) {
    if (std::isnan(values[i])) continue;
    if (!least || values[i] < values[*least]) least = i;
    if (!greatest || values[i] > values[*greatest]) greatest = i;
  }
  if (!least) {
    out.push_back(begin);
    return;
  }
  out.push_back(std::min(*least, *greatest));
  if (*least != *greatest) out.push_back(std::max(*least, *greatest));
}

}  // namespace

std::vector<std::size_t> downsample(std::span<const double> values, std::size_t most) {
  std::vector<std::size_t> out;
  if (values.size() <= most) {
    out.resize(values.size());
    std::iota(out.begin(), out.end(), std::size_t{0});
    return out;
  }
  const std::size_t between = values.size() - 2;
  const std::size_t buckets = (most - 2) / 2;
  out.reserve(most);
  out.push_back(0);
  for (std::size_t i = 0; i < buckets; ++i)
    add_extremes(out, values, 1 + i * between / buckets, 1 + (i + 1) * between / buckets);
  out.push_back(values.size() - 1);
  return out;
}

}  // namespace lathe::tracking
