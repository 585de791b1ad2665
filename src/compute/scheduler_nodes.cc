#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "compute/scheduler.h"

/// The nodes of clusters: when they come and go.
namespace lathe::compute {
namespace {

/// "c-7" -> 7; -1 for a name of another kind.
std::int64_t number_in(std::string_view name) {
  const auto digits = name.substr(std::min(name.rfind('-') + 1, name.size()));
  std::int64_t number = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return error == std::errc{} && end == digits.data() + digits.size() ? number : -1;
}

}  // namespace

Scheduler::Node& Scheduler::add_node(Target& target, std::string name, Time now) {
  auto number = number_in(name);
  if (number < 0 || target.nodes.contains(number)) number = target.next_number;
  target.next_number = std::max(target.next_number, number + 1);
  auto& node = target.nodes[number];
  node.number = number;
  node.name = std::move(name);
  node.since = now;
  return node;
}

void Scheduler::start_node(Target& target, Time now, std::vector<Decision>& out) {
  auto& node = add_node(target, fmt::format("{}-{}", target.rules.name, target.next_number), now);
  node.has = target.rules.node;
  node.gpus = ledger_.take(node.has, target.rules.gpus);
  set_idle(target, node, now);
  out.push_back(NodeStarted{target.rules.name, node.name});
}

void Scheduler::set_idle(Target& target, Node& node, Time since) {
  node.job = nullptr;
  node.since = since;
  target.idle.insert(node.number);
  target.idle_since.insert({since, node.number});
}

void Scheduler::occupy(Target& target, Node& node, Job& job, Time since) {
  target.idle.erase(node.number);
  target.idle_since.erase({node.since, node.number});
  node.job = &job;
  node.since = since;
  job.nodes.push_back(node.number);
}

void Scheduler::drop_node(Target& target, std::int64_t number, std::string why, std::vector<Decision>& out) {
  const auto at = target.nodes.find(number);
  auto& node = at->second;
  out.push_back(NodeLeft{target.rules.name, node.name, std::move(why)});
  ledger_.give_back(node.has, node.gpus);
  target.idle.erase(number);
  target.idle_since.erase({node.since, number});
  target.nodes.erase(at);
}

/// Why a node without a job cannot stay; empty when it can.
std::string Scheduler::unfit(const Target& target, const Node& node) const {
  const auto used = std::find_if(node.gpus.begin(), node.gpus.end(), [&](int gpu) { return busy_gpus_.contains(gpu); });
  const bool works = target.rules.works;
  if (!works && used != node.gpus.end()) return fmt::format("a process outside Lathe uses GPU {}", *used);
  if (!works && !(node.has == target.rules.node))
    return fmt::format("nodes of {} have {} now", target.rules.name, target.rules.node.words());
  if (target.size() <= target.rules.max_nodes) return {};
  return target.rules.max_nodes == 0 ? "it was stopped"
                                     : fmt::format("{} may have {} nodes now", target.rules.name, target.rules.max_nodes);
}

void Scheduler::drop_unfit(Target& target, std::vector<Decision>& out) {
  const std::vector<std::int64_t> idle(target.idle.begin(), target.idle.end());
  for (const auto number : idle)
    if (const auto why = unfit(target, target.nodes.at(number)); !why.empty()) drop_node(target, number, why, out);
}

/// What works on a node keeps it as it is until it fits as its rules have it now; its GPUs stay, as far as they go.
void Scheduler::resize(Target& target, Node& node, std::vector<Decision>& out) {
  ledger_.give_back(node.has, node.gpus);
  if (!ledger_.fits(target.rules.node) && !make_room(target, 1, out)) return ledger_.take_again(node.has, node.gpus);
  node.has = target.rules.node;
  node.gpus = ledger_.take(node.has, node.gpus);
}

/// Lets nodes go whose idle time is over, and starts those below the minimum.
void Scheduler::keep_sizes(Target& target, Time now, std::vector<Decision>& out) {
  if (target.rules.local) return;
  while (!target.keeps_idle && target.spare() > 0 && now - target.idle_since.begin()->first >= target.rules.idle)
    drop_node(target, target.idle_since.begin()->second, fmt::format("idle for {} s", target.rules.idle.count()), out);
  while (target.size() < target.rules.min_nodes && ledger_.fits(target.rules.node)) start_node(target, now, out);
}

std::optional<Time> Scheduler::next_change() const {
  std::optional<Time> soonest;
  if (!paused_.empty() && std::get<Time>(*paused_.begin()) != Time::max()) soonest = std::get<Time>(*paused_.begin());
  for (const auto& [name, target] : targets_) {
    if (target.keeps_idle || target.spare() == 0) continue;
    const auto over = target.idle_since.begin()->first + target.rules.idle;
    if (!soonest || over < *soonest) soonest = over;
  }
  return soonest;
}

/// Idle nodes of other clusters that may leave, those that are idle the longest first.
std::vector<std::pair<Scheduler::Target*, std::int64_t>> Scheduler::spare_nodes(const Target& wanting) const {
  std::vector<std::tuple<Time, std::string_view, std::int64_t, Target*>> all;
  for (const auto& [name, target] : targets_) {
    if (&target == &wanting) continue;
    auto spare = target.spare();
    for (auto idle = target.idle_since.begin(); spare > 0; ++idle, --spare)
      all.emplace_back(idle->first, name, idle->second, const_cast<Target*>(&target));
  }
  std::sort(all.begin(), all.end());
  std::vector<std::pair<Target*, std::int64_t>> out;
  for (const auto& [since, name, number, target] : all) out.emplace_back(target, number);
  return out;
}

bool Scheduler::can_make_room(const Target& wanting, std::int64_t count) const {
  const auto spare = spare_nodes(wanting);
  if (spare.empty()) return false;
  Ledger room = ledger_;
  for (const auto& [target, number] : spare) {
    const auto& node = target->nodes.at(number);
    room.give_back(node.has, node.gpus);
    if (room.fits(wanting.rules.node, count)) return true;
  }
  return false;
}

bool Scheduler::make_room(const Target& wanting, std::int64_t count, std::vector<Decision>& out) {
  if (!can_make_room(wanting, count)) return false;
  for (const auto& [target, number] : spare_nodes(wanting)) {
    if (ledger_.fits(wanting.rules.node, count)) break;
    drop_node(*target, number, fmt::format("made room for {}", wanting.rules.name), out);
  }
  return true;
}

std::vector<NodeView> Scheduler::nodes(const std::string& name) const {
  std::vector<NodeView> out;
  const auto found = targets_.find(name);
  if (found == targets_.end()) return out;
  for (const auto& [number, node] : found->second.nodes) {
    auto& view = out.emplace_back(NodeView{node.name, {}, node.since, node.gpus, node.has});
    if (node.job == nullptr) continue;
    view.job = *node.job->name;
    view.leaving = node.job->state == Job::State::leaving;
  }
  return out;
}

}  // namespace lathe::compute
