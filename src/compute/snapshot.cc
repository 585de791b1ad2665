#include <algorithm>

#include "compute/scheduler.h"

namespace lathe::compute {

Snapshot Scheduler::snapshot(Time now) const {
  Snapshot out;
  out.at = now;
  out.machine = machine_;
  out.policy = policy_;
  out.period = share_.period();
  for (const auto& [name, user] : users_) out.used[name] = user.used;
  out.quotas = quotas_;
  out.busy_gpus = busy_gpus_;
  for (const auto& [name, target] : targets_) {
    auto& of = out.targets.emplace_back();
    of.rules = target.rules;
    of.next_number = target.next_number;
    of.run_times.assign(target.run_times.begin(), target.run_times.end());
    for (const auto number : target.idle) {
      const auto& node = target.nodes.at(number);
      of.idle.push_back({node.name, node.gpus, node.since});
    }
  }
  std::vector<const Job*> jobs;
  for (const auto& [name, job] : jobs_) jobs.push_back(&job);
  const auto runs = [](const Job* job) { return job->state == Job::State::running || job->state == Job::State::leaving; };
  std::sort(jobs.begin(), jobs.end(), [&](const Job* a, const Job* b) {
    return (runs(a) ? a->start_order : a->arrival) < (runs(b) ? b->start_order : b->arrival);
  });
  for (const auto* job : jobs) {
    if (!runs(job)) {
      out.waiting.push_back({*job->name, job->target, job->need, job->not_before});
      continue;
    }
    auto& running = out.running.emplace_back(Snapshot::Running{*job->name, job->target, job->need, {}, job->since, {}});
    if (job->state == Job::State::leaving) running.leave_by = job->ends;
    for (const auto number : job->nodes) {
      const auto& node = target_of(*job).nodes.at(number);
      running.nodes.push_back({node.name, node.gpus});
    }
  }
  return out;
}

Scheduler Scheduler::restore(const Snapshot& snapshot) {
  Scheduler out(snapshot.machine, snapshot.policy);
  std::vector<Decision> none;
  out.share_.set_period(snapshot.period);
  out.handle(QuotasPut{snapshot.quotas}, snapshot.at, none);
  out.handle(GpusBusy{snapshot.busy_gpus}, snapshot.at, none);
  for (const auto& of : snapshot.targets) {
    out.handle(TargetPut{of.rules}, snapshot.at, none);
    auto& target = out.targets_.at(of.rules.name);
    for (const auto& idle : of.idle) {
      auto& node = out.add_node(target, idle.name, idle.since);
      node.has = of.rules.node;
      node.gpus = idle.gpus;
      out.ledger_.take_again(node.has, node.gpus);
      out.set_idle(target, node, idle.since);
    }
    target.run_times.assign(of.run_times.begin(), of.run_times.end());
  }
  for (const auto& running : snapshot.running) {
    out.handle(JobFound{running.job, running.target, running.need, running.nodes, running.since}, snapshot.at, none);
    if (running.leave_by == Time{}) continue;
    const auto found = out.jobs_.find(running.job);
    if (found != out.jobs_.end()) out.ask_to_leave(found->second, running.leave_by);
  }
  for (const auto& of : snapshot.targets) out.targets_.at(of.rules.name).next_number = of.next_number;
  for (const auto& waiting : snapshot.waiting)
    out.handle(JobQueued{waiting.job, waiting.target, waiting.need, waiting.not_before}, snapshot.at, none);
  for (const auto& [name, used] : snapshot.used) {
    auto& user = out.user_of(name);
    user.used = used;
    out.refresh_user(user);
  }
  out.charge_running(snapshot.at);
  for (auto& [name, target] : out.targets_) {
    const auto* first = target.line.first();
    target.keeps_idle = first != nullptr && first->need.nodes > target.idle_count();
  }
  return out;
}

}  // namespace lathe::compute
