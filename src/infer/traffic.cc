#include "infer/traffic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lathe::infer {
namespace {

/// FNV-1a, then the finalizer of SplitMix64, since its high bits are weak. The same in every process.
std::uint64_t hash_of(std::string_view name, std::string_view session) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const auto add = [&hash](char c) { hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U; };
  for (const char c : name) add(c);
  add('\0');
  for (const char c : session) add(c);
  hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9U;
  hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebU;
  return hash ^ (hash >> 31U);
}

}  // namespace

TrafficSplit::TrafficSplit(std::vector<int> weights, std::vector<std::string> names)
    : weights_(std::move(weights)), names_(std::move(names)) {
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

std::size_t TrafficSplit::pick_for(std::string_view session) const {
  std::size_t best = main();
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (weights_[i] == 0) continue;
    // Uniform in (0, 1); -ln of it is exponential, and of several the least, by weight, wins in proportion to weights.
    const double uniform = (static_cast<double>(hash_of(names_[i], session) >> 11U) + 0.5) * 0x1p-53;
    const double score = -std::log(uniform) / weights_[i];
    if (score >= least) continue;
    least = score;
    best = i;
  }
  return best;
}

std::size_t TrafficSplit::main() const {
  return static_cast<std::size_t>(std::max_element(weights_.begin(), weights_.end()) - weights_.begin());
}

}  // namespace lathe::infer
