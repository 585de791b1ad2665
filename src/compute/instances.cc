#include <fmt/format.h>

#include "base/log.h"
#include "compute/compute.h"

/// Compute instances: what starts and stops them.
namespace lathe::compute {
namespace {

constexpr std::chrono::seconds kStorePause{1};

const char* name_of(Compute::Operation operation) {
  switch (operation) {
    case Compute::Operation::start:
      return "Start";
    case Compute::Operation::stop:
      return "Stop";
    case Compute::Operation::restart:
      break;
  }
  return "Restart";
}

}  // namespace

Result<Compute::Known*> Compute::find_instance(const std::string& name) {
  LATHE_TRY(const auto* known, find(name));
  if (!known->target.is_instance())
    return fail(Code::conflict,
                fmt::format("{} is {}: only compute instances are started and stopped", name,
                            known->rules.local ? "this machine" : "a cluster, whose nodes come and go by themselves"));
  return &targets_.at(name);
}

Result<TargetAnswer> Compute::operate(const std::string& name, Operation operation) {
  {
    const std::lock_guard changing(changing_);
    LATHE_CHECK(change_instance(name, operation, "User", std::nullopt));
  }
  return show(name);
}

Result<void> Compute::change_instance(const std::string& name, Operation operation, const std::string& trigger,
                                      std::optional<Time> acted) {
  Target target;
  bool changes = false;
  {
    const std::lock_guard lock(mutex_);
    LATHE_TRY(const auto* known, find_instance(name));
    target = known->target;
  }
  auto& instance = target.instance;
  changes = operation == Operation::restart || instance.wanted != (operation == Operation::start);
  instance.wanted = operation != Operation::stop;
  if (acted) instance.acted = *acted;
  if (changes) instance.last = {name_of(operation), to_iso8601(now()), "Succeeded", trigger};
  LATHE_CHECK(db_.write([&](db::Connection& c) { return update_target(c, target); }));
  std::unique_lock lock(mutex_);
  LATHE_TRY(auto* known, find_instance(name));
  known->target = std::move(target);
  if (!changes) return {};
  known->restarting = operation == Operation::restart;
  put_instance(lock, name);
  adapt_clusters(lock);
  return {};
}

/// Ends what runs on one that is to stop.
void Compute::put_instance(std::unique_lock<std::mutex>& lock, const std::string& name) {
  auto& known = targets_.at(name);
  auto rules = rules_for(known.target).value_or(known.rules);
  if (known.restarting) rules.min_nodes = rules.max_nodes = 0;
  known.rules = rules;
  carry_out(lock, decide(TargetPut{rules}));
  std::vector<std::string> jobs;
  if (rules.max_nodes == 0)
    for (const auto& node : scheduler_.nodes(name))
      if (node.job) jobs.push_back(*node.job);
  const auto end = calls_.end;
  lock.unlock();
  if (end)
    for (const auto& job : jobs) end(job, {});
  lock.lock();
  go_on_restarting(lock);
}

void Compute::go_on_restarting(std::unique_lock<std::mutex>& lock) {
  for (auto& [name, known] : targets_) {
    if (!known.restarting || !scheduler_.nodes(name).empty()) continue;
    known.restarting = false;
    known.rules.min_nodes = known.rules.max_nodes = 1;
    carry_out(lock, decide(TargetPut{known.rules}));
    return;  // carry_out let go of the lock; the next one has its own turn
  }
}

std::string Compute::state_of(const Known& known) const {
  const bool there = !scheduler_.nodes(known.target.name).empty();
  if (known.restarting) return "Restarting";
  if (known.target.instance.wanted)
    return there ? "Running" : known.target.instance.last.operation_name == "Restart" ? "Restarting" : "Starting";
  return there ? "Stopping" : "Stopped";
}

std::optional<Time> Compute::idle_since(const Known& known) const {
  if (scheduler_.waiting(known.target.name) > 0) return std::nullopt;
  for (const auto& node : scheduler_.nodes(known.target.name))
    if (!node.job) return node.since;
  return std::nullopt;
}

std::optional<Time> Compute::next_instance_change() const {
  std::optional<Time> soonest;
  for (const auto& [name, known] : targets_) {
    if (!known.target.is_instance()) continue;
    const auto next = next_due(known.target.instance, idle_since(known));
    if (next && (!soonest || *next < *soonest)) soonest = next;
  }
  return soonest && retry_ ? std::max(*soonest, *retry_) : soonest;
}

void Compute::keep_instances() {
  const std::lock_guard changing(changing_);
  std::vector<std::pair<std::string, Due>> all;
  const auto at = now();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, known] : targets_)
      if (known.target.is_instance())
        if (const auto what = due(known.target.instance, idle_since(known), at)) all.emplace_back(name, *what);
    // Whatever happens, not again at once.
    retry_ = all.empty() ? std::optional{at + kStorePause} : std::nullopt;
  }
  for (const auto& [name, what] : all) {
    const bool start = what.action == Schedule::Action::start;
    log::info("compute instance {} is to {}: {}", name, start ? "start" : "stop", what.why);
    const auto done = change_instance(name, start ? Operation::start : Operation::stop, what.trigger,
                                      what.trigger == "Schedule" ? std::optional{what.at} : std::nullopt);
    if (done) continue;
    log::error("a compute instance could not be {} compute={} why={}", start ? "started" : "stopped", name,
               done.error().message);
    const std::lock_guard lock(mutex_);
    retry_ = now() + kStorePause;
  }
}

}  // namespace lathe::compute
