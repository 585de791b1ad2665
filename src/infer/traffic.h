#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::infer {

/// Deals requests out by weights, smoothly and without chance: when the weights add up to N, any N requests in a row
/// are split exactly. Thread-safe.
class TrafficSplit {
 public:
  /// Negative weights count as 0. `names`: of those that have the weights, where sessions are to stick to them.
  explicit TrafficSplit(std::vector<int> weights, std::vector<std::string> names = {});

  /// Nobody has a weight: there is nothing to pick.
  bool empty() const { return order_.empty(); }
  /// The index of the weight whose turn it is.
  std::size_t pick() { return order_[turn_.fetch_add(1, std::memory_order_relaxed) % order_.size()]; }
  /// The index that requests of this session go to, always the same; of many sessions, each index gets its weight's
  /// share. When weights change, no session moves but to one that gained (weighted rendezvous hashing: Schindelhauer
  /// and Schomaker, "Weighted Distributed Hash Tables"). Needs names.
  std::size_t pick_for(std::string_view session) const;
  /// The index with the greatest weight.
  std::size_t main() const;
  const std::vector<int>& weights() const { return weights_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<int> weights_;
  std::vector<std::string> names_;
  std::vector<std::uint16_t> order_;
  std::atomic<std::uint64_t> turn_{0};
};

}  // namespace lathe::infer
