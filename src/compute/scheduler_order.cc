#include <algorithm>

#include "compute/scheduler.h"

/// Which waiting job starts, and which running one gives way.
namespace lathe::compute {
namespace {

/// How many jobs behind the first in line are looked at for a gap that they could fill.
constexpr std::size_t kBackfillDepth = 100;
/// Up to so many jobs that are to give way, it is tried which of them need not.
constexpr std::size_t kFewest = 64;

}  // namespace

/// Whether its nodes are there now, or could be started.
bool Scheduler::fits(const Job& job) const {
  const auto& target = target_of(job);
  if (target.rules.local) return static_cast<std::int64_t>(target.running) < target.rules.slots;
  const auto missing = std::max<std::int64_t>(job.need.nodes - target.idle_count(), 0);
  if (target.size() + missing > target.rules.max_nodes) return false;
  return missing == 0 || ledger_.fits(target.rules.node, missing) || can_make_room(target, missing);
}

/// How many of a target's nodes stay, whatever jobs end: those that are held, and the minimum.
std::int64_t Scheduler::kept_nodes(const Target& target) {
  return target.rules.holds ? target.size() : std::min(target.size(), target.rules.min_nodes);
}

/// The machine less what stays.
Ledger Scheduler::beside_kept() const {
  Ledger out(machine_);
  for (const auto& [name, target] : targets_) {
    auto node = target.nodes.begin();
    for (auto kept = kept_nodes(target); kept > 0; --kept, ++node) out.take_again(node->second.has, node->second.gpus);
  }
  return out;
}

/// Whether it could not start even if no other job ran. Then it waits for people, and a reservation for it would have no end.
bool Scheduler::hopeless(const Job& job, Ledger beside_kept) const {
  const auto& target = target_of(job);
  const auto& rules = target.rules;
  if (rules.local || rules.holds) return rules.holds && rules.max_nodes == 0;
  auto node = target.nodes.begin();
  for (auto own = kept_nodes(target); own > 0; --own, ++node) beside_kept.give_back(node->second.has, node->second.gpus);
  return !beside_kept.fits(rules.node, job.need.nodes);
}

void Scheduler::place(Job& job, Time now, std::vector<Decision>& out) {
  auto& target = target_of(job);
  auto& line = job.user->line(job.target, job.rank);
  line.jobs.erase(job.place());
  --target.waiting;
  JobPlaced placed{*job.name, job.target, {}};
  if (target.rules.local) {
    placed.nodes.push_back({"local", {}});
  } else {
    const auto missing = job.need.nodes - target.idle_count();
    if (missing > 0 && !ledger_.fits(target.rules.node, missing)) make_room(target, missing, out);
    for (auto more = missing; more > 0; --more) start_node(target, now, out);
    for (auto more = job.need.nodes; more > 0; --more) {
      auto& node = target.nodes.at(*target.idle.begin());
      occupy(target, node, job, now);
      placed.nodes.push_back({node.name, node.gpus});
    }
  }
  out.push_back(std::move(placed));
  begin(job, now);
}

/// Starts first jobs of all targets, the best first, until each target's first has to wait; those are `blocked`.
void Scheduler::place_in_order(Time now, std::vector<Reservation>& blocked, std::vector<Decision>& out) {
  std::optional<Ledger> rest;
  std::vector<Target*> open;
  for (auto& [name, target] : targets_) open.push_back(&target);
  const auto key = [](const Target* target) {
    const auto* job = target->line.first();
    return std::tuple(-job->rank, job->user->used + job->user->deposits, job->place());
  };
  const auto submitted = [](const Target* target) {
    const auto* job = target->line.first();
    return std::tuple(-job->rank, std::int64_t{0}, job->place());
  };
  for (;;) {
    // A quota may have emptied another target's line.
    std::erase_if(open, [](const Target* target) { return target->line.first() == nullptr; });
    if (open.empty()) return;
    const auto best = std::min_element(open.begin(), open.end(), [&](const Target* a, const Target* b) {
      return policy_.fair ? key(a) < key(b) : submitted(a) < submitted(b);
    });
    auto& target = **best;
    auto& job = *target.line.first();
    if (fits(job) && respects(blocked, job, now)) {
      place(job, now, out);
    } else {
      if (!rest) rest = beside_kept();
      blocked.emplace_back(job).hopeless = hopeless(job, *rest);
      open.erase(best);
    }
  }
}

void Scheduler::backfill(Time now, std::vector<Reservation>& blocked, std::vector<Decision>& out) {
  for (std::size_t i = 0; i < blocked.size(); ++i) {
    const auto& target = target_of(*blocked[i].job);
    if (target.rules.local) continue;
    const bool grows = target.size() < target.rules.max_nodes && (ledger_.fits(target.rules.node) || can_make_room(target, 1));
    if (target.idle.empty() && !grows) continue;
    for (auto* job : target.line.behind_first(kBackfillDepth))
      if (within_quota(*job) && fits(*job) && respects(blocked, *job, now)) place(*job, now, out);
  }
}

/// When the job can start if every running job takes as long as it may, and what else is free by then.
void Scheduler::reckon(Reservation& reservation, Time now) const {
  if (reservation.reckoned) return;
  reservation.reckoned = true;
  const auto& target = target_of(*reservation.job);
  reservation.idle = target.idle_count();
  reservation.size = target.size();
  reservation.room = ledger_;
  std::map<const Target*, std::int64_t> keeps;  // nodes of other targets that may still leave
  for (const auto& [spare, number] : spare_nodes(target)) {
    const auto& node = spare->nodes.at(number);
    reservation.room->give_back(node.has, node.gpus);
  }
  const auto now_free = *reservation.room;
  for (const auto& [ends, order, job] : ends_) {
    const auto& of = target_of(*job);
    if (of.rules.local) continue;
    if (&of == &target) {
      reservation.idle += job->need.nodes;
    } else {
      auto& left = keeps.try_emplace(&of, of.size() - of.rules.min_nodes - of.spare()).first->second;
      for (const auto number : job->nodes) {
        if (left-- <= 0) break;
        const auto& node = of.nodes.at(number);
        reservation.room->give_back(node.has, node.gpus);
      }
    }
    const auto missing = std::max<std::int64_t>(reservation.job->need.nodes - reservation.idle, 0);
    if (reservation.size + missing > target.rules.max_nodes || !reservation.room->fits(target.rules.node, missing)) continue;
    reservation.start = std::max(ends, now);
    return;
  }
  // There is no bound. Its target's own nodes come back some time; what it needs beside them has to stay free from now on.
  reservation.room = now_free;
  reservation.idle = reservation.size;
}

/// Whether starting the job now delays none of those that are first in line. If not, their reservations know of it.
bool Scheduler::respects(std::vector<Reservation>& blocked, const Job& job, Time now) const {
  const auto& own = target_of(job);
  if (own.rules.local) return true;
  std::vector<std::pair<Reservation*, Reservation>> after;
  for (auto& reservation : blocked) {
    const auto& target = target_of(*reservation.job);
    const bool same = &target == &own;
    // Another target's job takes room only from those who need more nodes than their target has.
    if (reservation.hopeless || target.rules.local || (!same && reservation.job->need.nodes <= target.size())) continue;
    // Of its own target's idle nodes, those that stay in any case are nobody else's.
    const auto takes = std::max<std::int64_t>(job.need.nodes - (own.idle_count() - own.spare()), 0);
    if (!same && takes == 0) continue;
    reckon(reservation, now);
    if (!reservation.start && same) return false;
    if (reservation.start && job.need.limit.count() > 0 && now + job.need.limit <= *reservation.start) continue;
    Reservation then = reservation;
    if (same) then.idle -= job.need.nodes;
    else
      for (auto count = takes; count > 0; --count) {
        if (!then.room->fits(own.rules.node)) return false;
        then.room->take(own.rules.node);
      }
    const auto missing = std::max<std::int64_t>(then.job->need.nodes - then.idle, 0);
    if (then.size + missing > target.rules.max_nodes || !then.room->fits(target.rules.node, missing)) return false;
    after.emplace_back(&reservation, std::move(then));
  }
  for (auto& [reservation, then] : after) *reservation = std::move(then);
  return true;
}

bool Scheduler::gives_way(const Job& job) {
  return job.need.tier == Tier::spot;
}

/// Whether the job could start if `leaving`, and those who were asked before, had ended.
bool Scheduler::enough_without(const Job& job, const std::vector<Job*>& leaving) const {
  const auto& target = target_of(job);
  auto idle = target.idle_count();
  auto running = static_cast<std::int64_t>(target.running);
  Ledger room = ledger_;
  for (const auto& [spare, number] : spare_nodes(target)) room.give_back(spare->nodes.at(number).has, spare->nodes.at(number).gpus);
  std::map<const Target*, std::int64_t> keeps;
  const auto leave = [&](const Job& other) {
    const auto& of = target_of(other);
    if (&of == &target) {
      idle += other.need.nodes;
      --running;
    } else if (!of.rules.local) {
      auto& left = keeps.try_emplace(&of, of.size() - of.rules.min_nodes - of.spare()).first->second;
      for (const auto number : other.nodes)
        if (left-- > 0) room.give_back(of.nodes.at(number).has, of.nodes.at(number).gpus);
    }
  };
  for (const auto& [since, order, other] : leaving_) leave(*other);
  for (const auto* other : leaving) leave(*other);
  if (target.rules.local) return running < target.rules.slots;
  const auto missing = std::max<std::int64_t>(job.need.nodes - idle, 0);
  return target.size() + missing <= target.rules.max_nodes && room.fits(target.rules.node, missing);
}

/// Asks as few jobs as will do to give way, those first that lose the least: the last to have started.
void Scheduler::preempt(const Reservation& reservation, Time now, std::vector<Decision>& out) {
  const auto& job = *reservation.job;
  if (reservation.hopeless || giving_way_.empty() || job.state != Job::State::waiting || gives_way(job)) return;
  if (enough_without(job, {})) return;
  std::vector<Job*> chosen;
  const bool local = target_of(job).rules.local;
  for (auto turn = giving_way_.rbegin(); turn != giving_way_.rend(); ++turn) {
    auto* other = std::get<Job*>(*turn);
    if (target_of(*other).rules.local == local) chosen.push_back(other);
  }
  if (!enough_without(job, chosen)) return;
  std::size_t enough = 1;  // doubled, then halved: each try reckons with all that leave
  while (enough < chosen.size() && !enough_without(job, {chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(enough)})) enough *= 2;
  chosen.resize(std::min(enough, chosen.size()));
  for (std::size_t i = chosen.size(); i-- > 0 && chosen.size() <= kFewest;) {
    auto fewer = chosen;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    if (enough_without(job, fewer)) chosen = std::move(fewer);
  }
  for (auto* other : chosen) {
    ask_to_leave(*other, std::min(other->ends, now + kGrace));
    out.push_back(JobPreempted{*other->name, other->target, *job.name});
  }
}

void Scheduler::ask_to_leave(Job& job, Time by) {
  giving_way_.erase({job.since, job.start_order, &job});
  leaving_.insert({job.since, job.start_order, &job});
  ends_.erase({job.ends, job.start_order, &job});
  job.state = Job::State::leaving;
  job.ends = by;
  ends_.insert({job.ends, job.start_order, &job});
}

}  // namespace lathe::compute
