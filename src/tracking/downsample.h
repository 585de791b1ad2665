#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace lathe::tracking {

constexpr std::size_t kFewestSamples = 4;

/// Which of many values a chart needs: the places of at most `most` of them (at least kFewestSamples), in their order.
/// All, when there are no more. Otherwise the first and the last, and of each of equally many values between them the
/// least and the greatest, so that every peak stays where it was. NaN is neither: a stretch of nothing but NaN keeps
/// one, so that the chart shows the gap.
///
/// The min-max aggregation of Jugel, Jerzak, Hackenbroich and Markl, "M4: A Visualization-Oriented Time Series Data
/// Aggregation", VLDB 2014, over buckets of equal count.
std::vector<std::size_t> downsample(std::span<const double> values, std::size_t most);

}  // namespace lathe::tracking
