#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "compute/compute.h"

/// Who has what of the machine besides clusters: what instances and deployments keep, and how clusters adapt to it.
namespace lathe::compute {
namespace {

constexpr std::int64_t kWhole = 1000;

/// No target's name has a space.
std::string rules_name(const std::string& holder) {
  return "deployment " + holder;
}

Rules rules_of_holder(const std::string& holder, const Resources& amount) {
  Rules rules;
  rules.name = rules_name(holder);
  rules.node = amount;
  rules.min_nodes = rules.max_nodes = 1;
  rules.holds = rules.works = true;
  return rules;
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(std::int64_t{1} << 30);
}

bool is_azures(std::string_view type) {
  return to_lower(type).starts_with("standard_");
}

/// How many parts of this size a GPU has.
std::int64_t parts_in_gpu(std::int64_t share) {
  return share > 0 ? kWhole / share : 1;
}

/// No part of a GPU lies on two of them.
Resources times(Resources amount, std::int64_t count) {
  const auto parts = amount.gpu_share > 0 ? count : 0;
  const auto each = parts_in_gpu(amount.gpu_share);
  return {amount.cores * count, amount.memory_bytes * count, amount.gpus * count + parts / each,
          parts % each * amount.gpu_share};
}

/// Of `numbers` those of each instance, as many as there are: its own whole GPUs, then the one of which it has a part.
std::vector<std::vector<int>> share_out(const std::vector<int>& numbers, const Resources& each, std::int64_t count) {
  const auto most = static_cast<std::int64_t>(numbers.size());
  std::vector<std::vector<int>> out(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count && most > 0; ++i) {
    auto& own = out[static_cast<std::size_t>(i)];
    const auto add = [&](std::int64_t at) {
      const auto number = numbers[static_cast<std::size_t>(at % most)];
      if (std::find(own.begin(), own.end(), number) == own.end()) own.push_back(number);
    };
    for (std::int64_t k = 0; k < each.gpus; ++k) add(i * each.gpus + k);
    if (each.gpu_share > 0) add(count * each.gpus + i / parts_in_gpu(each.gpu_share));
  }
  return out;
}

bool contains(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
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

/// What a holder has as long as its processes may use it.
void Compute::keep_used(const std::map<std::string, Reserved>& before, const GpusUsed& used) {
  for (const auto& [holder, was] : before) {
    const auto uses = used.find(holder);
    if (uses == used.end()) continue;
    const auto is = reserved_.find(holder);
    auto held = held_by(was);
    std::vector<int> kept;
    if (is != reserved_.end()) {
      // Parts of GPUs are no walls: whoever gets this one sees the last of them go.
      const bool shrinks = is->second.rules.node.gpus < was.rules.node.gpus &&
                           was.rules.node.gpu_share + is->second.rules.node.gpu_share == 0;
      if (!shrinks) continue;
      kept.assign(held.begin(), held.begin() + std::min<std::ptrdiff_t>(is->second.rules.node.gpus, std::ssize(held)));
    }
    const auto lingers = [&](int gpu) { return contains(held, gpu) && !contains(kept, gpu); };
    if (std::none_of(uses->second.begin(), uses->second.end(), lingers)) continue;
    if (is == reserved_.end())
      reserved_[holder] = was;
    else
      is->second.rules.node = was.rules.node;
  }
  if (started_) return;
  for (const auto& [holder, gpus] : used)
    if (!gpus.empty() && !reserved_.contains(holder)) {
      const Resources those{0, 0, std::ssize(gpus)};
      reserved_[holder] = {{holder, {}, 1}, those, rules_of_holder(holder, those)};
      reserved_[holder].rules.gpus = gpus;
    }
}

void Compute::reserve(const std::vector<Reservation>& all, const GpusUsed& used) {
  std::unique_lock lock(mutex_);
  auto before = std::exchange(reserved_, {});
  auto left = sizes_.at_most_half(sizes_.machine());
  for (const auto& wish : all) {
    const auto size = sizes_.find(wish.type);
    if (!size) continue;
    auto amount = times(size->asked, wish.count);
    if (size->elastic() || size->from == Size::From::azure) {
      amount.cores = std::min(amount.cores, left.cores);
      amount.memory_bytes = std::min(amount.memory_bytes, left.memory_bytes);
      amount.gpus = std::min(amount.gpus, sizes_.machine().gpus);
      left.cores -= amount.cores;
      left.memory_bytes -= amount.memory_bytes;
    }
    if (amount == Resources{}) continue;
    auto& reserved = reserved_[wish.holder] = {wish, size->asked, rules_of_holder(wish.holder, amount)};
    if (const auto had = used.find(wish.holder); had != used.end() && reserved.has_gpus())
      reserved.rules.gpus = had->second;
  }
  keep_used(before, used);
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
  note_gpus();
}

std::vector<int> Compute::held_by(const Reserved& reserved) const {
  if (!started_) return reserved.rules.gpus;
  const auto nodes = scheduler_.nodes(reserved.rules.name);
  return nodes.empty() ? std::vector<int>{} : nodes.front().gpus;
}

std::optional<std::vector<int>> Compute::numbers_of(const Reserved& reserved) const {
  if (!reserved.has_gpus()) return std::vector<int>{};
  auto held = held_by(reserved);
  const auto& node = reserved.rules.node;
  const auto nodes = scheduler_.nodes(reserved.rules.name);
  const bool complete = started_ ? !nodes.empty() && nodes.front().has == node
                                 : std::ssize(held) >= node.gpus + (node.gpu_share > 0 ? 1 : 0);
  if (!complete) return std::nullopt;
  return held;
}

std::optional<std::vector<GpuView>> Compute::gpus_of(const std::string& holder) const {
  std::vector<GpuView> out;
  if (gpus_.list().empty()) return out;
  const auto see = [&](const std::vector<int>& numbers) {
    out.push_back({numbers, gpu_environment(gpus_.list(), numbers), denied_minors(gpus_.list(), numbers)});
  };
  const std::lock_guard lock(mutex_);
  const auto found = reserved_.find(holder);
  if (found == reserved_.end() || !found->second.has_gpus()) {
    see({});
    return out;
  }
  const auto numbers = numbers_of(found->second);
  if (!numbers) return std::nullopt;
  for (const auto& own : share_out(*numbers, found->second.each, found->second.wish.count)) see(own);
  return out;
}

void Compute::on_gpus_of_changed(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  gpus_changed_ = std::move(wake);
}

/// Tells of deployments that got GPUs, or others than they had.
void Compute::note_gpus() {
  std::map<std::string, std::optional<std::vector<int>>> now_is;
  for (const auto& [holder, is] : reserved_)
    if (is.has_gpus()) now_is[holder] = numbers_of(is);
  if (now_is == noted_) return;
  noted_ = std::move(now_is);
  if (gpus_changed_) gpus_changed_();
}

std::string Compute::reserved(const std::string& holder) const {
  const std::lock_guard lock(mutex_);
  const auto found = reserved_.find(holder);
  if (found == reserved_.end()) return {};
  const auto words = found->second.rules.node.words();
  const auto nodes = scheduler_.nodes(found->second.rules.name);
  if (!nodes.empty() && nodes.front().has == found->second.rules.node) return words;
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
