#include "compute/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

namespace lathe::compute {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

Scheduler::Scheduler(const Resources& machine) : free_(machine) {
  for (int gpu = 0; gpu < machine.gpus; ++gpu) free_gpus_.insert(gpu);
}

std::vector<Decision> Scheduler::apply(const Event& event, Time now) {
  std::vector<Decision> out;
  std::visit(Overloaded{
                 [&](const TargetPut& put) { targets_[put.rules.name].rules = put.rules; },
                 [&](const TargetGone& gone) {
                   const auto found = targets_.find(gone.name);
                   if (found == targets_.end() || !found->second.queue.empty() || !found->second.running.empty()) return;
                   while (!found->second.nodes.empty())
                     drop_node(found->second, found->second.nodes.begin()->first, "the cluster was deleted", out);
                   targets_.erase(found);
                 },
                 [&](const JobQueued& queued) {
                   const auto found = targets_.find(queued.target);
                   if (found == targets_.end() || target_of_.contains(queued.job)) return;
                   found->second.queue.push_back({queued.job, queued.need.nodes});
                   target_of_[queued.job] = queued.target;
                 },
                 [&](const JobFound& job) {
                   const auto found = targets_.find(job.target);
                   if (found == targets_.end() || target_of_.contains(job.job)) return;
                   auto& target = found->second;
                   target_of_[job.job] = job.target;
                   auto& held = target.running[job.job];
                   for (const auto& given : job.nodes) {
                     held.push_back(given.name);
                     if (target.rules.local || target.nodes.contains(given.name)) continue;
                     target.nodes[given.name] = {given.name, job.job, now, given.gpus};
                     for (const int gpu : given.gpus) free_gpus_.erase(gpu);
                     free_ -= target.rules.node;
                     const auto dash = given.name.rfind('-');
                     if (dash != std::string::npos)
                       target.next_number =
                           std::max<std::int64_t>(target.next_number, std::atoll(given.name.c_str() + dash + 1) + 1);
                   }
                 },
                 [&](const JobGone& gone) {
                   const auto where = target_of_.find(gone.job);
                   if (where == target_of_.end()) return;
                   auto& target = targets_[where->second];
                   target_of_.erase(where);
                   std::erase_if(target.queue, [&](const auto& waiting) { return waiting.job == gone.job; });
                   const auto ran = target.running.find(gone.job);
                   if (ran == target.running.end()) return;
                   for (const auto& name : ran->second) {
                     const auto node = target.nodes.find(name);
                     if (node == target.nodes.end()) continue;
                     node->second.job.reset();
                     node->second.since = now;
                   }
                   target.running.erase(ran);
                 },
                 [](const Tick&) {},
             },
             event);
  balance(now, out);
  return out;
}

void Scheduler::balance(Time now, std::vector<Decision>& out) {
  for (auto& [name, target] : targets_) place_waiting(target, now, out);
  for (auto& [name, target] : targets_) {
    if (target.rules.local) continue;
    std::vector<std::string> over;
    for (const auto& [node, view] : target.nodes)
      if (!view.job && now - view.since >= target.rules.idle) over.push_back(node);
    for (const auto& node : over) {
      if (static_cast<std::int64_t>(target.nodes.size()) <= target.rules.min_nodes) break;
      drop_node(target, node, fmt::format("idle for {} s", target.rules.idle.count()), out);
    }
    while (static_cast<std::int64_t>(target.nodes.size()) < target.rules.min_nodes && target.rules.node.fits_in(free_))
      start_node(target, now, out);
  }
}

void Scheduler::place_waiting(Target& target, Time now, std::vector<Decision>& out) {
  while (!target.queue.empty()) {
    const auto& [job, count] = target.queue.front();
    std::vector<NodeGiven> given;
    if (target.rules.local) {
      if (static_cast<std::int64_t>(target.running.size()) >= target.rules.slots) return;
      given.push_back({"local", {}});
    } else {
      for (const auto& name : take_nodes(target, count, now, out)) {
        auto& node = target.nodes[name];
        node.job = job;
        node.since = now;
        given.push_back({name, node.gpus});
      }
      if (given.empty()) return;
    }
    auto& held = target.running[job];
    for (const auto& node : given) held.push_back(node.name);
    out.push_back(JobPlaced{job, target.rules.name, std::move(given)});
    target.queue.pop_front();
  }
}

std::vector<std::string> Scheduler::take_nodes(Target& target, std::int64_t count, Time now,
                                               std::vector<Decision>& out) {
  const auto idle =
      std::count_if(target.nodes.begin(), target.nodes.end(), [](const auto& node) { return !node.second.job; });
  const auto missing = std::max<std::int64_t>(count - idle, 0);
  if (static_cast<std::int64_t>(target.nodes.size()) + missing > target.rules.max_nodes) return {};
  Resources room;
  for (std::int64_t i = 0; i < missing; ++i) room += target.rules.node;
  if (!room.fits_in(free_) && !make_room(target, room, out)) return {};
  for (std::int64_t i = 0; i < missing; ++i) start_node(target, now, out);
  std::vector<std::string> taken;
  for (const auto& [name, node] : target.nodes)
    if (!node.job && static_cast<std::int64_t>(taken.size()) < count) taken.push_back(name);
  return taken;
}

void Scheduler::start_node(Target& target, Time now, std::vector<Decision>& out) {
  const auto name = fmt::format("{}-{}", target.rules.name, target.next_number++);
  auto& node = target.nodes[name] = {name, std::nullopt, now, {}};
  while (static_cast<std::int64_t>(node.gpus.size()) < target.rules.node.gpus && !free_gpus_.empty())
    node.gpus.push_back(free_gpus_.extract(free_gpus_.begin()).value());
  free_ -= target.rules.node;
  out.push_back(NodeStarted{target.rules.name, name});
}

/// Lets idle nodes of other clusters go, those that are idle the longest first, if that is enough.
bool Scheduler::make_room(const Target& wanting, const Resources& room, std::vector<Decision>& out) {
  struct Candidate {
    Time since;
    Target* target;
    std::string node;
  };
  std::vector<Candidate> candidates;
  Resources possible = free_;
  for (auto& [name, target] : targets_) {
    if (&target == &wanting || target.rules.local) continue;
    auto spare = static_cast<std::int64_t>(target.nodes.size()) - target.rules.min_nodes;
    for (const auto& [node, view] : target.nodes) {
      if (view.job || spare <= 0) continue;
      --spare;
      possible += target.rules.node;
      candidates.push_back({view.since, &target, node});
    }
  }
  if (!room.fits_in(possible)) return false;
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.since < b.since; });
  for (const auto& candidate : candidates) {
    if (room.fits_in(free_)) break;
    drop_node(*candidate.target, candidate.node, fmt::format("made room for {}", wanting.rules.name), out);
  }
  return true;
}

void Scheduler::drop_node(Target& target, const std::string& node, std::string why, std::vector<Decision>& out) {
  out.push_back(NodeLeft{target.rules.name, node, std::move(why)});
  free_ += target.rules.node;
  const auto& gpus = target.nodes[node].gpus;
  free_gpus_.insert(gpus.begin(), gpus.end());
  target.nodes.erase(node);
}

std::optional<Time> Scheduler::next_change() const {
  std::optional<Time> soonest;
  for (const auto& [name, target] : targets_) {
    if (target.rules.local || static_cast<std::int64_t>(target.nodes.size()) <= target.rules.min_nodes) continue;
    for (const auto& [node, view] : target.nodes)
      if (!view.job && (!soonest || view.since + target.rules.idle < *soonest)) soonest = view.since + target.rules.idle;
  }
  return soonest;
}

std::vector<NodeView> Scheduler::nodes(const std::string& target) const {
  std::vector<NodeView> out;
  if (const auto found = targets_.find(target); found != targets_.end())
    for (const auto& [name, view] : found->second.nodes) out.push_back(view);
  return out;
}

std::size_t Scheduler::waiting(const std::string& target) const {
  const auto found = targets_.find(target);
  return found == targets_.end() ? 0 : found->second.queue.size();
}

std::size_t Scheduler::running(const std::string& target) const {
  const auto found = targets_.find(target);
  return found == targets_.end() ? 0 : found->second.running.size();
}

std::string Scheduler::waiting_for(const std::string& job) const {
  const auto where = target_of_.find(job);
  if (where == target_of_.end()) return {};
  const auto& target = targets_.at(where->second);
  const auto place =
      std::find_if(target.queue.begin(), target.queue.end(), [&](const auto& waiting) { return waiting.job == job; });
  if (place == target.queue.end()) return {};
  const auto ahead = place - target.queue.begin();
  std::string line = ahead == 0 ? "first in line" : fmt::format("{} ahead of it", ahead);
  if (target.rules.local)
    return fmt::format("waits for one of the {} places of the local compute ({})", target.rules.slots, line);
  if (place->nodes > 1)
    return fmt::format("waits for {} nodes of {} at once ({})", place->nodes, target.rules.name, line);
  if (static_cast<std::int64_t>(target.nodes.size()) >= target.rules.max_nodes)
    return fmt::format("waits for a node of {}: all {} that it may have are busy ({})", target.rules.name, target.rules.max_nodes, line);
  return fmt::format("waits for {} to be free on this machine for another node of {} ({} are free; {})", target.rules.node.words(),
                     target.rules.name, free_.words(), line);
}

}  // namespace lathe::compute
