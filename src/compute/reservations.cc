#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "compute/compute.h"

/// Who has what of the machine besides clusters: what instances and deployments keep, and how clusters adapt to it.
namespace lathe::compute {
namespace {

/// No target's name has a space.
std::string rules_name(const std::string& holder) {
  return "deployment " + holder;
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(std::int64_t{1} << 30);
}

bool is_azures(std::string_view type) {
  return to_lower(type).starts_with("standard_");
}

Resources times(Resources amount, std::int64_t count) {
  return {amount.cores * count, amount.memory_bytes * count, amount.gpus * count + amount.gpu_share * count / 1000,
          amount.gpu_share * count % 1000};
}

Resources least(const Resources& a, const Resources& b) {
  return {std::min(a.cores, b.cores), std::min(a.memory_bytes, b.memory_bytes), std::min(a.gpus, b.gpus),
          std::min(a.gpu_share, b.gpu_share)};
}

}  // namespace

Result<json::Report> Compute::check_reservation(const Reservation& wish) const {
  json::Report report;
  const auto size = sizes_.find(wish.type);
  if (!size && is_azures(wish.type)) {
    report.push_back({"instance_type", "substituted", fmt::format("nothing is reserved ({})", size.error().message)});
    return report;
  }
  if (!size)
    return fail(Code::invalid,
                "instance_type: " + size.error().message.substr(size.error().message.starts_with("size: ") ? 6 : 0));
  const auto all = times(size->asked, wish.count);
  const auto half = sizes_.at_most_half(sizes_.machine());
  if (size->elastic() || size->from == Size::From::azure) {
    if (!all.fits_in({half.cores, half.memory_bytes, sizes_.machine().gpus}))
      report.push_back(
          {"instance_type", "substituted",
           fmt::format("{} x {} is {}; Azure's sizes reserve half of this machine at most, all deployments together "
                       "({} of {})",
                       wish.count, size->name, all.words(), half.words(), sizes_.machine().words())});
  } else if (!all.fits_in(sizes_.machine())) {
    return fail(Code::invalid, fmt::format("instance_count: {} x {} is {}, and this machine has {}", wish.count,
                                           size->name, all.words(), sizes_.machine().words()));
  }
  return report;
}

void Compute::reserve(const std::vector<Reservation>& all) {
  std::unique_lock lock(mutex_);
  auto before = std::exchange(reserved_, {});
  auto left = sizes_.at_most_half(sizes_.machine());
  left.gpus = sizes_.machine().gpus;
  for (const auto& wish : all) {
    const auto size = sizes_.find(wish.type);
    if (!size) continue;
    auto amount = times(size->asked, wish.count);
    if (size->elastic() || size->from == Size::From::azure) {
      amount = least(amount, left);
      left -= amount;
    }
    if (amount == Resources{}) continue;
    Rules rules;
    rules.name = rules_name(wish.holder);
    rules.node = amount;
    rules.min_nodes = rules.max_nodes = 1;
    rules.holds = true;
    reserved_[wish.holder] = {wish, rules};
  }
  if (started_) {
    std::vector<Event> events;
    for (const auto& [holder, was] : before)
      if (!reserved_.contains(holder)) events.emplace_back(TargetGone{was.rules.name});
    for (const auto& [holder, is] : reserved_)
      if (const auto was = before.find(holder); was == before.end() || !(was->second.rules.node == is.rules.node))
        events.emplace_back(TargetPut{is.rules});
    for (const auto& event : events) carry_out(lock, decide(event));
  }
  adapt_clusters(lock);
}

std::string Compute::reserved(const std::string& holder) const {
  const std::lock_guard lock(mutex_);
  const auto found = reserved_.find(holder);
  if (found == reserved_.end()) return {};
  const auto words = found->second.rules.node.words();
  if (!scheduler_.nodes(found->second.rules.name).empty()) return words;
  return fmt::format("waits for {} to be free on this machine ({} are)", words, scheduler_.free().words());
}

Resources Compute::reserved_total() const {
  Resources out;
  for (const auto& [name, known] : targets_)
    if (known.target.is_instance() && known.target.instance.wanted) out += known.rules.node;
  for (const auto& [holder, is] : reserved_) out += is.rules.node;
  return out;
}

void Compute::adapt_clusters(std::unique_lock<std::mutex>& lock) {
  std::vector<Rules> changed;
  for (auto& [name, known] : targets_) {
    if (known.rules.local || known.target.is_instance() || known.target.partition) continue;
    const auto rules = rules_for(known.target);
    if (!rules || rules->node == known.rules.node) continue;
    known.rules = *rules;
    changed.push_back(*rules);
  }
  if (!started_) return;
  for (const auto& rules : changed) carry_out(lock, decide(TargetPut{rules}));
}

void Compute::put_all(std::unique_lock<std::mutex>& lock) {
  std::vector<Rules> first;
  std::vector<Rules> then;
  for (const auto& [holder, is] : reserved_) first.push_back(is.rules);
  for (const auto& [name, known] : targets_)
    if (!known.rules.local && !known.target.partition) (known.rules.holds ? first : then).push_back(known.rules);
  for (const auto* list : {&first, &then})
    for (const auto& rules : *list) carry_out(lock, decide(TargetPut{rules}));
}

std::vector<UsageAnswer> Compute::usage() const {
  const std::lock_guard lock(mutex_);
  const auto& machine = sizes_.machine();
  UsageAnswer cores{"cores", "Count", 0, static_cast<double>(machine.cores), {}};
  UsageAnswer memory{"memory", "GiB", 0, gib(machine.memory_bytes), {}};
  UsageAnswer gpus{"gpus", "Count", 0, static_cast<double>(machine.gpus), {}};
  const auto add = [&](const std::string& holder, const std::string& rules) {
    for (const auto& node : scheduler_.nodes(rules)) {
      const auto note = [&](UsageAnswer& usage, double amount) {
        if (amount <= 0) return;
        usage.current_value += amount;
        usage.holders[holder] += amount;
      };
      note(cores, static_cast<double>(node.has.cores));
      note(memory, gib(node.has.memory_bytes));
      note(gpus, node.has.gpu_count());
    }
  };
  for (const auto& [name, known] : targets_)
    if (!known.rules.local) add(fmt::format("{} {}", known.target.is_instance() ? "instance" : "cluster", name), name);
  for (const auto& [holder, is] : reserved_) add(is.rules.name, is.rules.name);
  if (!foreign_.empty()) gpus.holders["processes outside"] = static_cast<double>(foreign_.size());
  return {cores, memory, gpus};
}

}  // namespace lathe::compute
