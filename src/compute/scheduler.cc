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

Scheduler::Scheduler(const Resources& machine) : ledger_(machine) {}

std::vector<Decision> Scheduler::apply(const Event& event, Time now) {
  std::vector<Decision> out;
  std::visit(Overloaded{
                 [&](const TargetPut& put) {
                   auto& target = targets_[put.rules.name];
                   target.rules = put.rules;
                   drop_unfit(target, out);
                 },
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
                     if (target.rules.local) continue;
                     if (const auto there = target.nodes.find(given.name); there != target.nodes.end()) {
                       if (there->second.job) continue;
                       // Started afresh, for the minimum, before it was known whose it is.
                       ledger_.give_back(there->second.has, there->second.gpus);
                     }
                     target.nodes[given.name] = {given.name, job.job, now, given.gpus, target.rules.node};
                     ledger_.take_again(target.rules.node, given.gpus);
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
                     if (const auto why = unfit(target, node->second); !why.empty()) drop_node(target, name, why, out);
                   }
                   target.running.erase(ran);
                 },
                 [&](const GpusBusy& busy) {
                   ledger_.set_busy(busy.gpus);
                   for (auto& [name, target] : targets_) drop_unfit(target, out);
                 },
                 [](const Tick&) {},
             },
             event);
  balance(now, out);
  return out;
}

void Scheduler::balance(Time now, std::vector<Decision>& out) {
  for (auto& [name, target] : targets_) start_held(target, now, out);
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
    while (static_cast<std::int64_t>(target.nodes.size()) < target.rules.min_nodes && ledger_.fits(target.rules.node))
      start_node(target, now, out);
  }
}

std::string Scheduler::unfit(const Target& target, const NodeView& node) const {
  const auto used = std::find_if(node.gpus.begin(), node.gpus.end(), [&](int gpu) { return ledger_.busy(gpu); });
  if (used != node.gpus.end()) return fmt::format("a process outside Lathe uses GPU {}", *used);
  if (!(node.has == target.rules.node)) return fmt::format("nodes of {} have {} now", target.rules.name, target.rules.node.words());
  if (static_cast<std::int64_t>(target.nodes.size()) <= target.rules.max_nodes) return {};
  return target.rules.max_nodes == 0 ? "it was stopped" : fmt::format("{} may have {} nodes now", target.rules.name, target.rules.max_nodes);
}

void Scheduler::drop_unfit(Target& target, std::vector<Decision>& out) {
  if (target.rules.local) return;
  std::vector<std::string> names;
  for (const auto& [name, node] : target.nodes)
    if (!node.job) names.push_back(name);
  for (const auto& name : names)
    if (const auto why = unfit(target, target.nodes[name]); !why.empty()) drop_node(target, name, why, out);
}

void Scheduler::start_held(Target& target, Time now, std::vector<Decision>& out) {
  if (!target.rules.holds) return;
  while (static_cast<std::int64_t>(target.nodes.size()) < target.rules.min_nodes &&
         (ledger_.fits(target.rules.node) || make_room(target, 1, out)))
    start_node(target, now, out);
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
  if (!ledger_.fits(target.rules.node, missing) && !make_room(target, missing, out)) return {};
  for (std::int64_t i = 0; i < missing; ++i) start_node(target, now, out);
  std::vector<std::string> taken;
  for (const auto& [name, node] : target.nodes)
    if (!node.job && static_cast<std::int64_t>(taken.size()) < count) taken.push_back(name);
  return taken;
}

void Scheduler::start_node(Target& target, Time now, std::vector<Decision>& out) {
  const auto name = fmt::format("{}-{}", target.rules.name, target.next_number++);
  target.nodes[name] = {name, std::nullopt, now, ledger_.take(target.rules.node), target.rules.node};
  out.push_back(NodeStarted{target.rules.name, name});
}

/// Lets idle nodes of other clusters go, those that are idle the longest first, if that is enough.
bool Scheduler::make_room(const Target& wanting, std::int64_t count, std::vector<Decision>& out) {
  struct Candidate {
    Time since;
    Target* target;
    std::string node;
  };
  std::vector<Candidate> candidates;
  Resources possible = ledger_.free();
  for (auto& [name, target] : targets_) {
    if (&target == &wanting || target.rules.local) continue;
    auto spare = static_cast<std::int64_t>(target.nodes.size()) - target.rules.min_nodes;
    for (const auto& [node, view] : target.nodes) {
      if (view.job || spare <= 0) continue;
      --spare;
      const auto shared = std::max(possible.gpu_share, view.has.gpu_share);
      possible += view.has;
      possible.gpu_share = shared;
      candidates.push_back({view.since, &target, node});
    }
  }
  auto room = wanting.rules.node;
  room.cores *= count;
  room.memory_bytes *= count;
  room.gpus *= count;
  if (!room.fits_in(possible)) return false;
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.since < b.since; });
  for (const auto& candidate : candidates) {
    if (ledger_.fits(wanting.rules.node, count)) break;
    drop_node(*candidate.target, candidate.node, fmt::format("made room for {}", wanting.rules.name), out);
  }
  return ledger_.fits(wanting.rules.node, count);
}

void Scheduler::drop_node(Target& target, const std::string& node, std::string why, std::vector<Decision>& out) {
  out.push_back(NodeLeft{target.rules.name, node, std::move(why)});
  const auto& view = target.nodes[node];
  ledger_.give_back(view.has, view.gpus);
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
  if (target.rules.max_nodes == 0) return fmt::format("waits for {} to be started ({})", target.rules.name, line);
  if (place->nodes > 1)
    return fmt::format("waits for {} nodes of {} at once ({})", place->nodes, target.rules.name, line);
  if (static_cast<std::int64_t>(target.nodes.size()) >= target.rules.max_nodes)
    return fmt::format("waits for a node of {}: all {} that it may have are busy ({})", target.rules.name, target.rules.max_nodes, line);
  return fmt::format("waits for {} to be free on this machine for another node of {} ({} are free; {})", target.rules.node.words(),
                     target.rules.name, ledger_.free().words(), line);
}

}  // namespace lathe::compute
