#include "slurm/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "slurm/limits.h"
#include "slurm/words.h"

namespace lathe::slurm {
namespace {

using compute::Sighting;
using Where = Sighting::Where;

constexpr int kSubmitters = 2;
constexpr auto kPowerLook = std::chrono::milliseconds{300};
constexpr auto kPowerLimit = std::chrono::seconds{120};
constexpr auto kRetry = std::chrono::seconds{2};
constexpr auto kNodesStale = std::chrono::seconds{10};
constexpr auto kLimitsStale = std::chrono::seconds{60};  // a partition's limits change with its configuration alone
constexpr auto kNodesWanted = std::chrono::seconds{60};
constexpr auto kFirstView = std::chrono::seconds{2};
constexpr auto kEndsByItself = std::chrono::seconds{60};  // a job whose end is known
constexpr auto kAfterTrouble = std::chrono::seconds{60};
constexpr auto kForgotten = std::chrono::hours{24};

Sighting sighting_of(const Entry& entry) {
  Sighting out;
  out.nodes = entry.nodes;
  out.expected_start = entry.starts;
  if (is_waiting(entry.state)) {
    out.where = Where::waiting;
    out.words = entry.reason;
  } else if (is_over(entry.state)) {
    out.where = Where::over;
    out.words = end_words(entry.state);
    out.cancelled = entry.state == "CANCELLED";
    out.lost = entry.state == "NODE_FAIL" || entry.state == "BOOT_FAIL" || entry.state == "PREEMPTED" ||
               entry.state == "REVOKED";
    out.timed_out = entry.state == "TIMEOUT" || entry.state == "DEADLINE";
  } else {
    out.where = Where::running;
    out.words = entry.state;
  }
  return out;
}

std::string trouble_words(Time since, const std::string& what) {
  return fmt::format("Slurm cannot be reached since {}: {}", to_iso8601(since), what);
}

bool same(const Sighting& a, const Sighting& b) {
  return a.where == b.where && a.words == b.words && a.nodes == b.nodes;
}

}  // namespace

SlurmEngine::SlurmEngine(Settings settings, PartitionOf partition_of)
    : commands_(settings), settings_(std::move(settings)), partition_of_(std::move(partition_of)) {}

void SlurmEngine::start(Changed changed) {
  changed_ = std::move(changed);
  for (int i = 0; i < kSubmitters; ++i) threads_.emplace_back([this] { hand_over(); });
  threads_.emplace_back([this] { poll(); });
}

void SlurmEngine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  to_submit_there_.notify_all();
  to_poll_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

// --- handing over ---

void SlurmEngine::submit(compute::Order order) {
  {
    const std::lock_guard lock(mutex_);
    const auto attempt = order.attempt;
    auto& known = known_[attempt];
    known.order = std::move(order);
    known.submitting = true;
    known.try_at = Clock::now() + known.order.delay;
    to_submit_.push_back(attempt);
  }
  to_submit_there_.notify_one();
  to_poll_.notify_one();
}

void SlurmEngine::follow(const compute::Order& order) {
  const std::lock_guard lock(mutex_);
  auto& known = known_[order.attempt];
  known.order = order;
  known.after_look = looks_;
  to_poll_.notify_one();
}

void SlurmEngine::hand_over() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    // The first that may be tried now; those that have to wait a little are looked at again then.
    auto next = Clock::time_point::max();
    const auto now = Clock::now();
    const auto ready = std::find_if(to_submit_.begin(), to_submit_.end(), [&](const std::string& attempt) {
      const auto found = known_.find(attempt);
      if (found == known_.end()) return true;
      const auto& known = found->second;
      // What sbatch said nothing about may be in the queue: only a look tells.
      const bool looked = !known.failed_at_look || last_look_ > *known.failed_at_look || known.cancelling;
      if (looked) next = std::min(next, known.try_at);
      return looked && known.try_at <= now;
    });
    if (ready == to_submit_.end()) {
      if (next == Clock::time_point::max())
        to_submit_there_.wait(lock);
      else
        to_submit_there_.wait_until(lock, next);
      continue;
    }
    const auto attempt = *ready;
    to_submit_.erase(ready);
    lock.unlock();
    hand_over_one(attempt);
    lock.lock();
  }
}

void SlurmEngine::hand_over_one(const std::string& attempt) {
  std::unique_lock lock(mutex_);
  const auto found = known_.find(attempt);
  if (found == known_.end() || !found->second.submitting) return;  // the queue shows it, or nobody wants it any more
  if (found->second.cancelling) {
    found->second.submitting = false;
    found->second.seen.where = Where::over;
    found->second.seen.cancelled = true;
    lock.unlock();
    tell({attempt});
    return;
  }
  const auto order = found->second.order;
  lock.unlock();

  const auto partition = partition_of_(order.target);
  if (partition && !nodes_are_up(attempt, order, *partition)) return;
  const auto id = partition ? commands_.submit(request_for(order, *partition))
                            : Result<std::string>(fail(Code::invalid, "its compute target is gone"));

  lock.lock();
  const auto again = known_.find(attempt);
  if (again == known_.end()) return;
  auto& known = again->second;
  if (id) {
    known.id = *id;
    known.submitting = false;
    known.hitch.clear();
    known.after_look = looks_;
    known.seen.where = Where::waiting;
    known.seen.words = "None";
    if (!given_.insert(*id).second) last_trouble_ = Clock::now();  // given before: the controller has forgotten that
    if (known.cancelling) to_cancel_.insert(attempt);
  } else if (id.error().code == Code::unavailable) {
    known.hitch = id.error().message;
    known.failed_at_look = looks_;
    known.try_at = Clock::now() + kRetry;
    to_submit_.push_back(attempt);
    note_trouble(id.error().message);
    to_poll_.notify_one();
  } else {
    known.submitting = false;
    known.seen.where = Where::refused;
    known.seen.words = id.error().message;
  }
  lock.unlock();
  if (id) log::info("submitted job={} attempt={} slurm={}", order.job, attempt, *id);
  tell({attempt});
}

Request SlurmEngine::request_for(const compute::Order& order, const Partition& partition) const {
  constexpr std::int64_t kMoreMinutes = 10;  // so that our own limit comes first
  Request out;
  out.attempt = order.attempt;
  out.name = order.job;
  out.user = order.user;
  out.partition = partition;
  out.nodes = order.nodes;
  out.script = order.script;
  for (const auto& word : {order.priority, order.tier}) {  // the tier's QOS before the priority's
    if (const auto nice = settings_.nice.find(word); nice != settings_.nice.end()) out.nice += nice->second;
    if (const auto qos = settings_.qos.find(word); qos != settings_.qos.end()) out.partition.qos = qos->second;
  }
  if (order.time_limit_s == 0) return out;
  out.minutes = order.time_limit_s / 60 + kMoreMinutes;
  const std::lock_guard lock(mutex_);
  if (const auto nodes = nodes_.find(partition.name); nodes != nodes_.end() && !nodes->second.empty())
    if (const auto most = nodes->second.front().most_minutes; most > 0) out.minutes = std::min(out.minutes, most);
  return out;
}

bool SlurmEngine::nodes_are_up(const std::string& attempt, const compute::Order& order, const Partition& partition) {
  std::unique_lock lock(mutex_);
  if (!no_power_up_.empty()) return true;
  const auto older_than = [&](auto limit) { return !nodes_seen_ || lathe::now() - *nodes_seen_ > limit; };
  const auto& all = nodes_[partition.name];
  const bool elastic =
      std::any_of(all.begin(), all.end(), [&](const Node& node) { return elastic_.contains(node.name); });
  if (!elastic && !older_than(kLimitsStale)) return true;
  if (older_than(kPowerLook)) {  // one look serves all jobs that wait for power
    lock.unlock();
    look_at_nodes();
    lock.lock();
    if (older_than(kPowerLook)) return true;  // sbatch will say why
  }
  std::int64_t idle = 0;
  std::int64_t starting = 0;
  std::vector<std::string> off;
  for (const auto& node : nodes_[partition.name]) {
    const auto state = node_state(node.state);
    if (state == "idle") ++idle;
    if (state == "preparing") ++starting;
    if (state == "off") off.push_back(node.name);
  }
  const auto wanting = order.nodes - idle - starting;
  if (idle >= order.nodes || idle + starting + static_cast<std::int64_t>(off.size()) < order.nodes) return true;
  if (wanting > 0) {
    off.resize(static_cast<std::size_t>(wanting));
    lock.unlock();
    const auto done = commands_.power_up(off);
    lock.lock();
    if (!done) {
      if (done.error().code == Code::forbidden)
        no_power_up_ =
            "Slurm starts nodes without power itself, which takes some 10 s longer: this server may not ask for "
            "their power (scontrol update ... state=power_up)";
      return true;
    }
    log::info("powering up nodes={} for job={}", fmt::join(off, ","), order.job);
    for (auto& node : nodes_[partition.name])
      if (std::find(off.begin(), off.end(), node.name) != off.end()) node.state.back() = '#';  // as Slurm will show it
  }
  const auto found = known_.find(attempt);
  if (found == known_.end()) return false;
  auto& known = found->second;
  if (!known.powering_since) known.powering_since = Clock::now();
  if (Clock::now() - *known.powering_since > kPowerLimit) return true;
  known.hitch = "its nodes are being powered up";
  known.try_at = Clock::now() + kPowerLook;
  to_submit_.push_back(attempt);
  return false;
}

// --- looking ---

void SlurmEngine::poll() {
  std::unique_lock lock(mutex_);
  auto next = Clock::now();
  while (!stopping_) {
    if (!to_cancel_.empty() || !to_wake_.empty()) {
      lock.unlock();
      send_signals();
      lock.lock();
    }
    const bool any = !known_.empty();
    const bool viewed = Clock::now() - nodes_wanted_ < kNodesWanted;
    if (Clock::now() >= next && (any || viewed)) {
      lock.unlock();
      if (any) look_at_queue();
      if (viewed) look_at_nodes();
      lock.lock();
      next = Clock::now() + settings_.poll;
      continue;
    }
    if (any || viewed)
      to_poll_.wait_until(lock, next);
    else
      to_poll_.wait(lock);
    // What failed is looked for at once; what is new has time until the next look.
    if (!known_.empty() && last_look_ == 0) next = std::min(next, Clock::now());
    const bool unseen = !nodes_seen_ || lathe::now() - *nodes_seen_ > kNodesStale;
    if (Clock::now() - nodes_wanted_ < kNodesWanted && unseen && trouble_.empty() && nodes_trouble_.empty())
      next = Clock::now();
  }
}

void SlurmEngine::send_signals() {
  std::vector<std::string> ids;
  std::vector<std::string> wakes;
  std::vector<std::string> wakes_of_several;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& attempt : to_cancel_)
      if (const auto found = known_.find(attempt); found != known_.end()) ids.push_back(found->second.id);
    for (const auto& attempt : to_wake_)
      if (const auto found = known_.find(attempt); found != known_.end())
        (found->second.order.nodes > 1 ? wakes_of_several : wakes).push_back(found->second.id);
    to_cancel_.clear();
    to_wake_.clear();
  }
  if (!ids.empty())
    if (const auto done = commands_.cancel(ids); !done)
      log::warn("scancel failed, and is tried again why=\"{}\"", done.error().message);
  (void)commands_.wake(wakes, false);  // the next beat does as well
  (void)commands_.wake(wakes_of_several, true);
}

void SlurmEngine::look_at_queue() {
  std::uint64_t look = 0;
  {
    const std::lock_guard lock(mutex_);
    look = ++looks_;
  }
  const auto entries = commands_.queue();
  Taken taken;
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(mutex_);
    if (!entries) {
      note_trouble(entries.error().message);
      return;
    }
    it_answered();
    last_look_ = look;
    taken = take_queue(*entries, look);
    gone = missing(look);
  }
  to_submit_there_.notify_all();
  if (!taken.surplus.empty()) {
    log::info("cancelling what is not wanted any more slurm={}", fmt::join(taken.surplus, ","));
    if (const auto done = commands_.cancel(taken.surplus); !done)
      log::warn("scancel failed why=\"{}\"", done.error().message);
  }
  if (!gone.empty()) settle(gone, taken.changes);
  tell(taken.changes);
}

SlurmEngine::Taken SlurmEngine::take_queue(const std::vector<Entry>& entries, std::uint64_t look) {
  Taken out;
  std::map<std::string, const Entry*> best;
  for (const auto& entry : entries) {
    if (const auto forgotten = forgotten_.find(entry.attempt); forgotten != forgotten_.end()) {
      if (is_waiting(entry.state) || Clock::now() - forgotten->second > kEndsByItself) out.surplus.push_back(entry.id);
      continue;
    }
    if (!known_.contains(entry.attempt)) continue;  // another server's
    auto& chosen = best[entry.attempt];
    if (chosen == nullptr) {
      chosen = &entry;
      continue;
    }
    // Two of one attempt: sbatch failed for us, and not for Slurm. The server lets only one of them in, and which that
    // is Slurm does not know: of two that run, the other goes by itself.
    const auto* other = &entry;
    if (chosen->state != "RUNNING" && !is_waiting(other->state)) std::swap(chosen, other);
    if (is_waiting(other->state)) out.surplus.push_back(other->id);
  }
  for (const auto& [attempt, entry] : best) {
    auto& known = known_[attempt];
    known.id = entry->id;
    known.seen_at_look = look;
    known.submitting = false;
    known.hitch.clear();
    const auto seen = judged(known, sighting_of(*entry));
    if (known.cancelling && seen.where != Where::over) to_cancel_.insert(attempt);
    if (same(known.seen, seen)) continue;
    known.seen = seen;
    out.changes.push_back(attempt);
  }
  std::erase_if(forgotten_, [](const auto& entry) { return Clock::now() - entry.second > kForgotten; });
  return out;
}

/// A controller that was killed forgets jobs of its last seconds and gives their numbers again; a node that still runs
/// such a number refuses the new job, and Slurm cancels that before it began. That is nobody's wish.
Sighting SlurmEngine::judged(const Known& known, Sighting seen) const {
  const bool just_away = last_trouble_ && Clock::now() - *last_trouble_ < kAfterTrouble;
  if (!seen.cancelled || seen.nodes.empty() || known.cancelling || !just_away) return seen;
  seen.lost_unless_begun = true;
  seen.words = "Slurm cancelled it just after having been away";
  return seen;
}

/// If something was cancelled that this server did not cancel: asks the controller whether it has just come back, which
/// between two looks nobody noticed.
void SlurmEngine::note_restart(const std::vector<Entry>& entries) {
  {
    const std::lock_guard lock(mutex_);
    if (std::none_of(entries.begin(), entries.end(), [this](const Entry& entry) {
          const auto known = known_.find(entry.attempt);
          return entry.state == "CANCELLED" && known != known_.end() && !known->second.cancelling;
        }))
      return;
  }
  const auto age = commands_.controller_age();
  if (!age) return;
  const std::lock_guard lock(mutex_);
  const auto since = Clock::now() - *age;
  if (!last_trouble_ || *last_trouble_ < since) last_trouble_ = since;
}

/// Those that should have been in this look, and were not.
std::vector<std::string> SlurmEngine::missing(std::uint64_t look) const {
  std::vector<std::string> out;
  for (const auto& [attempt, known] : known_) {
    const bool settled = known.seen.where == Where::over || known.seen.where == Where::refused;
    if (!known.submitting && !settled && known.after_look < look && known.seen_at_look < look) out.push_back(attempt);
  }
  return out;
}

/// Asks once for all of them how they ended.
void SlurmEngine::settle(const std::vector<std::string>& attempts, std::vector<std::string>& changes) {
  std::vector<Commands::Asked> asked;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& attempt : attempts)
      if (const auto found = known_.find(attempt); found != known_.end())
        asked.push_back({found->second.id, attempt, found->second.order.job});
  }
  const auto entries = asked.empty() ? std::vector<Entry>{} : commands_.remembered(asked);
  if (!entries) return;  // at the next look
  note_restart(*entries);
  const std::lock_guard lock(mutex_);
  for (const auto& attempt : attempts) {
    const auto found = known_.find(attempt);
    if (found == known_.end()) continue;
    const auto entry =
        std::find_if(entries->begin(), entries->end(), [&](const Entry& one) { return one.attempt == attempt; });
    if (entry != entries->end()) {
      found->second.seen = judged(found->second, sighting_of(*entry));
    } else {
      const auto nodes = found->second.seen.nodes;
      found->second.seen = {};
      found->second.seen.where = Where::over;
      found->second.seen.words = end_words("");
      found->second.seen.lost = !found->second.cancelling;
      found->second.seen.cancelled = found->second.cancelling;
      found->second.seen.nodes = nodes;
    }
    changes.push_back(attempt);
  }
}

void SlurmEngine::look_at_nodes() {
  auto nodes = commands_.nodes();
  const std::lock_guard lock(mutex_);
  if (!nodes) {
    if (nodes_trouble_.empty()) nodes_trouble_since_ = lathe::now();
    nodes_trouble_ = nodes.error().message;
    looked_.notify_all();
    return;
  }
  nodes_trouble_.clear();
  it_answered();
  nodes_.clear();
  for (auto& node : *nodes) {
    const auto partition = node.partition;
    const auto state = node_state(node.state);
    // sinfo says it of none that is up: those whose power was ever seen off or on its way.
    if (state == "off" || state == "preparing" || node.state.ends_with('%') || node.state.ends_with('!'))
      elastic_.insert(node.name);
    nodes_[partition].push_back(std::move(node));
  }
  nodes_seen_ = lathe::now();
  looked_.notify_all();
}

void SlurmEngine::tell(const std::vector<std::string>& changes) {
  for (const auto& attempt : changes) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = known_.find(attempt);
      const bool over = found != known_.end() &&
                        (found->second.seen.where == Where::over || found->second.seen.where == Where::refused);
      if (over && found->second.forgotten) {
        known_.erase(found);
        forgotten_[attempt] = Clock::now();
      }
    }
    changed_(attempt);
  }
}

void SlurmEngine::note_trouble(const std::string& what) {
  if (trouble_.empty()) {
    trouble_since_ = lathe::now();
    log::warn("Slurm cannot be reached why=\"{}\"", what);
  }
  trouble_ = what;
  last_trouble_ = Clock::now();
  looked_.notify_all();
}

void SlurmEngine::it_answered() {
  if (!trouble_.empty()) log::info("Slurm answers again");
  trouble_.clear();
}

// --- what others ask ---

void SlurmEngine::cancel(const std::string& attempt) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(attempt);
  if (found == known_.end()) return;
  found->second.cancelling = true;
  found->second.try_at = {};
  to_cancel_.insert(attempt);
  to_poll_.notify_one();
  to_submit_there_.notify_all();
}

void SlurmEngine::wake(const std::string& attempt) {
  const std::lock_guard lock(mutex_);
  to_wake_.insert(attempt);
  to_poll_.notify_one();
}

void SlurmEngine::forget(const std::string& attempt) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(attempt);
  if (found != known_.end() && found->second.cancelling && found->second.seen.where != Where::over) {
    found->second.forgotten = true;  // until it is seen no more
    return;
  }
  known_.erase(attempt);
  forgotten_[attempt] = Clock::now();
}

Sighting SlurmEngine::look(const std::string& attempt) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(attempt);
  return found == known_.end() ? Sighting{} : found->second.seen;
}

std::string SlurmEngine::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_.empty() ? "" : trouble_words(trouble_since_, trouble_);
}

std::string SlurmEngine::explain(const std::string& attempt) const {
  std::string out = trouble();
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(attempt);
  if (found == known_.end()) return out;
  const auto& known = found->second;
  if (!out.empty()) out += "; before that: ";
  if (known.submitting) return out + (known.hitch.empty() ? "it is being handed to Slurm" : known.hitch);
  if (known.seen.where == Where::unknown) return out + "it is being looked for in Slurm";
  if (known.seen.where == Where::running)
    return out + fmt::format("Slurm has given it {}, where it is starting", known.seen.nodes);
  if (known.seen.where != Where::waiting) return out + known.seen.words;
  out += fmt::format("Slurm's job {} waits: {}", known.id, reason_words(known.seen.words));
  const auto& starts = known.seen.expected_start;
  if (!starts.empty() && starts != "N/A") out += fmt::format("; Slurm expects it to start at {}", starts);
  return out;
}

void SlurmEngine::await_nodes(std::unique_lock<std::mutex>& lock, std::chrono::seconds limit) {
  if (nodes_seen_ && lathe::now() - *nodes_seen_ <= limit) return;
  const auto before = nodes_seen_;
  nodes_wanted_ = Clock::now();
  to_poll_.notify_one();
  const auto in_trouble = [&] { return !trouble_.empty() || !nodes_trouble_.empty(); };
  if (!in_trouble() && !threads_.empty())
    looked_.wait_for(lock, kFirstView, [&] { return nodes_seen_ != before || in_trouble(); });
}

std::size_t SlurmEngine::jobs(const std::string& target) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(known_.begin(), known_.end(), [&](const auto& one) {
    return one.second.order.target == target && !one.second.forgotten;
  }));
}

std::string SlurmEngine::never_runs(const compute::Order& order) {
  const auto partition = partition_of_(order.target);
  std::unique_lock lock(mutex_);
  await_nodes(lock, kLimitsStale);
  if (!partition || !nodes_seen_) return {};
  const auto nodes = nodes_.find(partition->name);
  return slurm::never_runs(*partition, order.nodes, order.time_limit_s,
                           nodes == nodes_.end() ? std::vector<Node>{} : nodes->second);
}

compute::EngineView SlurmEngine::view(const std::string& target) {
  const auto partition = partition_of_(target);
  std::unique_lock lock(mutex_);
  nodes_wanted_ = Clock::now();
  await_nodes(lock, kNodesStale);
  compute::EngineView out;
  for (const auto& [attempt, known] : known_) {
    if (known.order.target != target || known.forgotten) continue;
    if (known.seen.where == Where::running)
      ++out.running;
    else if (known.seen.where == Where::waiting || known.seen.where == Where::unknown)
      ++out.waiting;
  }
  out.seen = nodes_seen_;
  if (!trouble_.empty())
    out.trouble = trouble_words(trouble_since_, trouble_);
  else if (!nodes_trouble_.empty())
    out.trouble = trouble_words(nodes_trouble_since_, nodes_trouble_);
  out.note = no_power_up_;
  if (!partition) return out;
  for (const auto& node : nodes_[partition->name]) {
    auto words = node.reason.empty() ? node.state : node.state + ": " + node.reason;
    out.nodes.push_back({node.name, std::string(node_state(node.state)), std::move(words), node.cores,
                         node.memory_bytes, elastic_.contains(node.name)});
  }
  return out;
}

}  // namespace lathe::slurm
