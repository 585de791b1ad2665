#include "infer/traffic.h"

#include <algorithm>
#include <numeric>

namespace lathe::infer {

TrafficSplit::TrafficSplit(std::vector<int> weights) : weights_(std::move(weights)) {
  for (auto& weight : weights_) weight = std::max(weight, 0);
  const int total = std::accumulate(weights_.begin(), weights_.end(), 0);
  // Smooth weighted round robin: everyone gains their weight, the richest is picked and pays the total.
  std::vector<int> credit(weights_.size(), 0);
  for (int turn = 0; turn < total; ++turn) {
    for (std::size_t i = 0; i < credit.size(); ++i) credit[i] += weights_[i];
    const auto richest = std::max_element(credit.begin(), credit.end());
    *richest -= total;
    order_.push_back(static_cast<std::uint16_t>(richest - credit.begin()));
  }
}

std::size_t TrafficSplit::main() const {
  return static_cast<std::size_t>(std::max_element(weights_.begin(), weights_.end()) - weights_.begin());
}

}  // namespace lathe::infer
