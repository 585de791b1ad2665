#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lathe::infer {

/// Deals requests out by weights, smoothly and without chance: when the weights add up to N, any N requests in a row
/// are split exactly. Thread-safe.
class TrafficSplit {
 public:
  /// Negative weights count as 0.
  explicit TrafficSplit(std::vector<int> weights);

  /// Nobody has a weight: there is nothing to pick.
  bool empty() const { return order_.empty(); }
  /// The index of the weight whose turn it is.
  std::size_t pick() { return order_[turn_.fetch_add(1, std::memory_order_relaxed) % order_.size()]; }
  /// The index with the greatest weight.
  std::size_t main() const;
  const std::vector<int>& weights() const { return weights_; }

 private:
  std::vector<int> weights_;
  std::vector<std::uint16_t> order_;
  std::atomic<std::uint64_t> turn_{0};
};

}  // namespace lathe::infer
