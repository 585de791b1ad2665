#include "compute/ledger.h"

#include <algorithm>

namespace lathe::compute {
namespace {

constexpr std::int64_t kWhole = 1000;

}  // namespace

Ledger::Ledger(const Resources& machine)
    : cores_(machine.cores), memory_bytes_(machine.memory_bytes), held_(static_cast<std::size_t>(machine.gpus), 0) {
  for (int gpu = 0; gpu < machine.gpus; ++gpu) whole_.insert(whole_.end(), gpu);
}

bool Ledger::fits(const Resources& amount, std::int64_t count) const {
  if (amount.cores * count > cores_ || amount.memory_bytes * count > memory_bytes_) return false;
  auto left = static_cast<std::int64_t>(whole_.size()) - amount.gpus * count;
  if (left < 0) return false;
  if (amount.gpu_share == 0) return true;
  auto parts = left * (kWhole / amount.gpu_share);
  for (auto rest = rests_.lower_bound({amount.gpu_share, 0}); rest != rests_.end() && parts < count; ++rest)
    parts += rest->first / amount.gpu_share;
  return parts >= count;
}

std::vector<int> Ledger::take(const Resources& amount, const std::vector<int>& first) {
  cores_ -= amount.cores;
  memory_bytes_ -= amount.memory_bytes;
  std::vector<int> out;
  for (const int gpu : first) {
    if (static_cast<std::int64_t>(out.size()) == amount.gpus) break;
    if (!whole_.contains(gpu)) continue;
    out.push_back(gpu);
    hold(gpu, kWhole);
  }
  while (static_cast<std::int64_t>(out.size()) < amount.gpus && !whole_.empty()) {
    out.push_back(*whole_.begin());
    hold(out.back(), kWhole);
  }
  if (amount.gpu_share == 0) return out;
  const auto has_room = [&](int gpu) {
    if (gpu < 0 || static_cast<std::size_t>(gpu) >= held_.size() || busy(gpu)) return false;
    return held_[static_cast<std::size_t>(gpu)] + amount.gpu_share <= kWhole;
  };
  if (const auto before = std::find_if(first.begin(), first.end(), has_room); before != first.end()) {
    out.push_back(*before);
    hold(*before, amount.gpu_share);
    return out;
  }
  const auto rest = rests_.lower_bound({amount.gpu_share, 0});
  if (rest != rests_.end()) out.push_back(rest->second);
  else if (!whole_.empty()) out.push_back(*whole_.begin());
  else return out;
  hold(out.back(), amount.gpu_share);
  return out;
}

void Ledger::take_again(const Resources& amount, const std::vector<int>& gpus) {
  cores_ -= amount.cores;
  memory_bytes_ -= amount.memory_bytes;
  for (std::size_t i = 0; i < gpus.size(); ++i) hold(gpus[i], static_cast<std::int64_t>(i) < amount.gpus ? kWhole : amount.gpu_share);
}

void Ledger::give_back(const Resources& amount, const std::vector<int>& gpus) {
  cores_ += amount.cores;
  memory_bytes_ += amount.memory_bytes;
  for (std::size_t i = 0; i < gpus.size(); ++i) hold(gpus[i], static_cast<std::int64_t>(i) < amount.gpus ? -kWhole : -amount.gpu_share);
}

void Ledger::set_busy(const std::set<int>& gpus) {
  const auto before = std::exchange(busy_, gpus);
  for (const int gpu : before) list(gpu);
  for (const int gpu : gpus) unlist(gpu);
}

Resources Ledger::free() const {
  return {cores_, memory_bytes_, static_cast<std::int64_t>(whole_.size()), rests_.empty() ? 0 : rests_.rbegin()->first};
}

void Ledger::hold(int gpu, std::int64_t more) {
  if (gpu < 0 || static_cast<std::size_t>(gpu) >= held_.size()) return;  // it is not there any more
  unlist(gpu);
  held_[static_cast<std::size_t>(gpu)] += more;
  list(gpu);
}

void Ledger::list(int gpu) {
  if (gpu < 0 || static_cast<std::size_t>(gpu) >= held_.size() || busy_.contains(gpu)) return;
  const auto held = held_[static_cast<std::size_t>(gpu)];
  if (held <= 0) whole_.insert(gpu);
  else if (held < kWhole) rests_.insert({kWhole - held, gpu});
}

void Ledger::unlist(int gpu) {
  if (gpu < 0 || static_cast<std::size_t>(gpu) >= held_.size()) return;
  whole_.erase(gpu);
  rests_.erase({kWhole - held_[static_cast<std::size_t>(gpu)], gpu});
}

}  // namespace lathe::compute
