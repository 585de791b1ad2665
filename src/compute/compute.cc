#include "compute/compute.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "compute/record.h"

namespace lathe::compute {
namespace {

constexpr std::size_t kRecent = 20;

Resources node_of(const Partition& partition) { return {partition.cores, partition.memory_bytes, partition.gpus}; }

}  // namespace

Compute::Compute(db::Database& db, Sizes sizes, const Gpus& gpus, Policy policy)
    : db_(db), sizes_(std::move(sizes)), gpus_(gpus), scheduler_(sizes_.machine(), policy) {}

std::vector<Decision> Compute::decide(const Event& event) {
  const auto at = now();
  auto decisions = scheduler_.apply(event, at);
  if (!recorder_) return decisions;
  recorder_->add(event, at, decisions);
  if (recorder_->full()) recorder_->begin(scheduler_.snapshot(at));
  return decisions;
}

Result<void> Compute::record_in(const std::filesystem::path& folder) {
  LATHE_TRY(auto recorder, Recorder::open(folder));
  const std::lock_guard lock(mutex_);
  recorder_ = std::move(recorder);
  recorder_->go_on(scheduler_.snapshot(now()));
  return {};
}

Result<std::unique_ptr<Compute>> Compute::open(db::Database& db, Sizes sizes, const Gpus& gpus, Policy policy) {
  std::unique_ptr<Compute> compute(new Compute(db, std::move(sizes), gpus, policy));
  LATHE_TRY(auto targets, db.read([](db::Connection& c) { return all_targets(c); }));
  Target local;
  local.name = "local";
  local.type = "local";
  Rules rules;
  rules.name = "local";
  rules.local = true;
  rules.slots = std::max<std::int64_t>(compute->sizes_.machine().cores, 1);
  compute->targets_["local"] = {local, rules, {}};
  compute->scheduler_.apply(TargetPut{rules}, now());
  for (auto& target : targets) {
    const auto name = target.name;
    if (target.partition) {
      Rules named;
      named.name = name;
      compute->targets_[name] = {std::move(target), named, {}};
      continue;
    }
    auto found = compute->rules_for(target);
    if (!found) {
      // The machine shrank, or the configuration lost it: the target stays, with nodes of what is here.
      log::warn("a target's size is not there any more compute={} why={}", name, found.error().message);
      target.size = "all";
      found = compute->rules_for(target);
    }
    compute->targets_[name] = {std::move(target), *found, {}};
  }
  std::unique_lock lock(compute->mutex_);
  compute->adapt_clusters(lock);
  lock.unlock();
  return compute;
}

Result<Rules> Compute::rules_for(const Target& target) const { return rules_of(target, sizes_, reserved_total()); }

Compute::~Compute() { stop(); }

void Compute::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    calls_ = {};
  }
  changed_.notify_all();
  gpu_pause_.notify_all();
  if (timer_.joinable()) timer_.join();
  if (gpu_watch_.joinable()) gpu_watch_.join();
}

void Compute::start(Calls calls) {
  {
    std::unique_lock lock(mutex_);
    calls_.end = std::move(calls.end);
    calls_.owner = std::move(calls.owner);
    calls_.jobs_for = std::move(calls.jobs_for);
    lock.unlock();
    look_at_gpus();
    lock.lock();
    started_ = true;
    put_all(lock);
    for (const auto& event : std::exchange(early_, {})) carry_out(lock, decide(event));
    calls_.give_way = std::move(calls.give_way);
    calls_.placed = std::move(calls.placed);
    hand_out(lock);
  }
  timer_ = std::thread([this] { keep_time(); });
  if (!gpus_.list().empty()) gpu_watch_ = std::thread([this] { watch_gpus(); });
}

void Compute::keep_time() {
  std::unique_lock lock(mutex_);
  const auto sooner = [](std::optional<Time> a, std::optional<Time> b) { return !a ? b : !b ? a : std::optional{std::min(*a, *b)}; };
  while (!stopping_) {
    if (const auto next = sooner(scheduler_.next_change(), next_instance_change())) changed_.wait_until(lock, *next);
    else changed_.wait(lock);
    if (const auto next = scheduler_.next_change(); !stopping_ && next && *next <= now()) carry_out(lock, decide(Tick{}));
    if (const auto next = next_instance_change(); !stopping_ && next && *next <= now()) {
      lock.unlock();
      keep_instances();
      lock.lock();
    }
  }
}

void Compute::apply(std::unique_lock<std::mutex>& lock, const Event& event) {
  if (started_) carry_out(lock, decide(event));
  else early_.push_back(event);
}

void Compute::carry_out(std::unique_lock<std::mutex>& lock, const std::vector<Decision>& decisions) {
  const auto note = [&](const std::string& target, const std::string& line) {
    log::info("compute {}", line);
    const auto found = targets_.find(target);
    if (found == targets_.end()) return;
    auto& recent = found->second.recent;
    recent.push_back(to_iso8601(now()) + " " + line);
    if (recent.size() > kRecent) recent.pop_front();
  };
  for (const auto& decision : decisions) {
    if (const auto* started = std::get_if<NodeStarted>(&decision)) note(started->target, fmt::format("node {} was added", started->node));
    if (const auto* left = std::get_if<NodeLeft>(&decision)) note(left->target, fmt::format("node {} left: {}", left->node, left->why));
    if (const auto* placed = std::get_if<JobPlaced>(&decision)) {
      const auto known = targets_.find(placed->target);
      const auto rules = known == targets_.end() ? Rules{} : known->second.rules;
      if (!rules.local)
        for (const auto& node : placed->nodes)
          note(placed->target, fmt::format("node {} runs {}", node.name, placed->job));
      starts_.push_back({placed->job, {placed->nodes, rules.local ? Resources{} : rules.node}});
    }
    if (const auto* leaves = std::get_if<JobPreempted>(&decision)) {
      note(leaves->target, fmt::format("{} is asked to give way to {}", leaves->job, leaves->winner));
      leaves_.push_back(*leaves);
    }
  }
  note_gpus();
  changed_.notify_all();
  hand_out(lock);
}

void Compute::hand_out(std::unique_lock<std::mutex>& lock) {
  if ((starts_.empty() && leaves_.empty()) || !calls_.placed) return;
  const auto starts = std::exchange(starts_, {});
  const auto leaves = std::exchange(leaves_, {});
  const auto calls = calls_;
  lock.unlock();
  for (const auto& start : starts) calls.placed(start.job, start.place);
  for (const auto& leave : leaves) calls.give_way(leave.job, leave.winner);
  lock.lock();
}

bool Compute::queue(const std::string& job, const std::string& target, const Need& need, Time not_before) {
  auto wanted = need;
  std::unique_lock lock(mutex_);
  const auto known = targets_.find(target);
  if (known == targets_.end()) return false;
  if (known->second.target.low_priority) wanted.tier = Tier::spot;
  apply(lock, JobQueued{job, target, wanted, not_before});
  return true;
}

void Compute::gone(const std::string& job, Outcome outcome) {
  std::unique_lock lock(mutex_);
  ended_.erase(job);
  apply(lock, JobGone{job, outcome});
  go_on_restarting(lock);
}

void Compute::ran(const std::string& target, const Need& need, Time from, Time to) {
  std::unique_lock lock(mutex_);
  apply(lock, JobRan{target, need, from, to});
}

void Compute::set_quotas(const std::map<std::string, std::int64_t>& nodes) {
  std::unique_lock lock(mutex_);
  carry_out(lock, decide(QuotasPut{nodes}));
}

void Compute::found(const std::string& job, const std::string& target, const Need& need,
                    const std::vector<NodeGiven>& nodes, Time since) {
  auto wanted = need;
  std::unique_lock lock(mutex_);
  Resumed resumed;
  if (const auto known = targets_.find(target); known != targets_.end() && !known->second.rules.local) {
    if (known->second.target.low_priority) wanted.tier = Tier::spot;
    resumed.targets.push_back(known->second.rules);
    resumed.targets.back().min_nodes = 0;  // nothing is started before all that runs has its nodes
  }
  resumed.jobs.push_back({job, target, wanted, nodes, since});
  carry_out(lock, decide(resumed));
}

std::string Compute::waiting_for(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  return scheduler_.waiting_for(job);
}

std::optional<Why> Compute::why(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  return scheduler_.why(job, now());
}

Result<void> Compute::check_possible(const std::string& target, const Need& need) const {
  const std::lock_guard lock(mutex_);
  if (const auto why = scheduler_.impossible(target, need); !why.empty())
    return fail(Code::invalid, fmt::format("compute: the job could never start on {}: {}", target, why));
  return {};
}

Result<const Compute::Known*> Compute::find(const std::string& name) const {
  if (const auto found = targets_.find(name); found != targets_.end()) return &found->second;
  std::vector<std::string> names;
  for (const auto& [known, target] : targets_) names.push_back(known);
  return fail(Code::not_found, unknown_name("compute", name, names));
}

Result<void> Compute::check_target(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  LATHE_CHECK(find(name));
  return {};
}

Result<Resources> Compute::room_of(const std::string& target) const {
  const std::lock_guard lock(mutex_);
  LATHE_TRY(const auto* known, find(target));
  if (known->target.partition) return node_of(*known->target.partition);
  return known->rules.local ? sizes_.machine() : known->rules.node;
}

std::optional<Partition> Compute::partition_of(const std::string& target) const {
  const std::lock_guard lock(mutex_);
  const auto found = targets_.find(target);
  return found == targets_.end() ? std::nullopt : found->second.target.partition;
}

TargetAnswer Compute::with_nodes(TargetAnswer out) const {
  if (!out.slurm) return out;
  if (engine_ == nullptr) {
    out.trouble = "this server is not connected to Slurm: start it with --slurm";
    return out;
  }
  const auto view = engine_->view(out.name);
  out.queued_jobs = view.waiting;
  out.running_jobs = view.running;
  out.node_state_counts = {{"idle", 0}, {"running", 0}, {"preparing", 0}, {"leaving", 0}, {"unusable", 0}, {"off", 0}};
  for (const auto& node : view.nodes) {
    ++out.node_state_counts[node.state];
    if (node.state != "off") ++out.current_node_count;
    if (!node.elastic) ++out.min_instances;
    out.nodes.push_back({node.name, node.state, std::nullopt, view.seen ? to_iso8601(*view.seen) : "", {}});
    if (node.state == "unusable") out.recent.push_back(node.name + " " + node.words);
  }
  out.max_instances = static_cast<std::int64_t>(view.nodes.size());
  if (!view.nodes.empty() && out.node.empty()) out.node = Resources{view.nodes.front().cores, view.nodes.front().memory_bytes, 0}.words();
  if (!view.trouble.empty()) out.trouble = view.trouble;
  else if (view.nodes.empty()) out.trouble = "Slurm has no partition \"" + out.slurm->name + "\" with nodes";
  if (!view.note.empty()) out.recent.push_back(view.note);
  return out;
}

TargetAnswer Compute::answer(const Known& known) const {
  const auto& target = known.target;
  TargetAnswer out;
  out.name = target.name;
  out.type = target.type;
  out.queued_jobs = static_cast<std::int64_t>(scheduler_.waiting(target.name));
  out.running_jobs = static_cast<std::int64_t>(scheduler_.running(target.name));
  if (known.rules.local) {
    out.node = sizes_.machine().words();
    out.description = fmt::format("this machine as it is: {} jobs at once", known.rules.slots);
    return out;
  }
  if (target.partition) {
    out.slurm = target.partition;
    const auto& slurm = *target.partition;
    if (slurm.cores > 0) out.node = node_of(slurm).words();
    out.description = target.description;
    out.tags = target.tags;
    out.creation_context = {{"created_by", target.created_by}, {"created_at", to_iso8601(target.created)}};
    return out;
  }
  out.size = target.size;
  out.node = known.rules.node.words();
  out.min_instances = known.rules.min_nodes;
  out.max_instances = known.rules.max_nodes;
  if (!target.is_instance()) {
    out.tier = target.low_priority ? "low_priority" : "dedicated";
    out.idle_time_before_scale_down = target.idle_s;
    if (target.max_instances_per_user > 0) out.max_instances_per_user = target.max_instances_per_user;
  } else {
    const auto& instance = target.instance;
    out.state = state_of(known);
    if (out.state == "Starting" || out.state == "Restarting")
      out.waiting_for = fmt::format("{} to be free on this machine ({} are): `lathe compute list-usage` shows who has it", known.rules.node.words(),
                                    scheduler_.free().words());
    if (instance.idle_shutdown_s > 0) {
      out.idle_time_before_shutdown = print_duration(std::chrono::seconds{instance.idle_shutdown_s});
      out.idle_time_before_shutdown_minutes = instance.idle_shutdown_s / 60;
    }
    if (!instance.schedules.empty()) out.schedules = json::Object{{"compute_start_stop", instance.schedules}};
    out.last_operation = instance.last;
    if (out.state != "Running" && out.state != "Stopped") out.last_operation->operation_status = "InProgress";
  }
  out.node_state_counts = {{"idle", 0}, {"running", 0}, {"preparing", 0}, {"leaving", 0}, {"unusable", 0}};
  for (const auto& node : scheduler_.nodes(target.name)) {
    const std::string state = !node.job ? "idle" : static_cast<std::int64_t>(out.nodes.size()) >= known.rules.max_nodes ? "leaving" : "running";
    ++out.node_state_counts[state];
    out.nodes.push_back({node.name, state, node.job, to_iso8601(node.since), {node.gpus.begin(), node.gpus.end()}});
  }
  // Asked for, and waiting for room.
  out.node_state_counts["preparing"] = std::max<std::int64_t>(known.rules.min_nodes - static_cast<std::int64_t>(out.nodes.size()), 0);
  out.current_node_count = static_cast<std::int64_t>(out.nodes.size());
  out.recent.assign(known.recent.begin(), known.recent.end());
  out.description = target.description;
  out.tags = target.tags;
  out.creation_context = {{"created_by", target.created_by}, {"created_at", to_iso8601(target.created)}};
  return out;
}

Result<TargetAnswer> Compute::create(const json::Object& document, bool strict, const std::string& user) {
  json::Report report;
  Target base;
  LATHE_TRY(const auto named, json::get_string(document, "name"));
  if (!named) return fail(Code::invalid, "name: is missing");
  const std::lock_guard changing(changing_);
  bool exists = false;
  {
    // As in Azure, creating what is there updates it.
    const std::lock_guard lock(mutex_);
    if (const auto found = targets_.find(*named); found != targets_.end() && !found->second.rules.local) {
      base = found->second.target;
      exists = true;
    }
  }
  LATHE_TRY(auto target, read_target(document, base, sizes_, report));
  LATHE_CHECK(json::refuse_if_strict(report, strict));
  if (exists && target.partition.has_value() != base.partition.has_value())
    return fail(Code::conflict, fmt::format("type: {} is of type {}: choose another name", target.name, base.type));
  if (target.partition && engine_ == nullptr)
    return fail(Code::conflict, "type: this server is not connected to a Slurm cluster: start it with --slurm on (docs/guide/slurm.md)");
  if (exists && target.size != base.size)
    return fail(Code::conflict, fmt::format("size: the nodes of {} are {}, and it keeps its size: make another", target.name, base.size));
  if (!exists) {
    target.created_by = user;
    target.created = now();
    target.instance.last = {"Create", to_iso8601(target.created), "Succeeded", "User"};
  }
  // What schedules would have done before they were there is not made up for.
  if (!exists || document.contains("schedules")) target.instance.acted = now();
  Rules rules;
  rules.name = target.name;
  if (!target.partition) {
    LATHE_TRY(rules, rules_of(target, sizes_, {}));
    auto room = rules.min_nodes;
    while (room > 0 && !Ledger(sizes_.machine()).fits(rules.node, room)) --room;
    if (room < rules.min_nodes)
      report.push_back({"min_instances", "substituted", fmt::format("this machine has room for {} of them: the rest stay preparing", room)});
  }
  LATHE_CHECK(db_.write([&](db::Connection& c) { return exists ? update_target(c, target) : insert_target(c, target); }));
  std::unique_lock lock(mutex_);
  if (target.partition) {
    auto& slurm = targets_[rules.name];
    slurm.target = std::move(target);
    slurm.rules = rules;
    auto out = answer(slurm);
    lock.unlock();
    return with_nodes(std::move(out));
  }
  auto& known = targets_[target.name];
  known.target = std::move(target);
  known.rules = rules;
  adapt_clusters(lock);
  carry_out(lock, decide(TargetPut{targets_[rules.name].rules}));
  auto out = answer(targets_[rules.name]);
  if (!report.empty()) out.report = std::move(report);
  return out;
}

Result<TargetAnswer> Compute::update(const std::string& name, const json::Object& document) {
  LATHE_CHECK(check_target(name));
  if (name == "local") return fail(Code::conflict, "local is this machine as it is: there is nothing to update");
  json::Object named = document;
  named["name"] = name;
  return create(named, false, {});
}

Result<TargetAnswer> Compute::show(const std::string& name) const {
  std::unique_lock lock(mutex_);
  LATHE_TRY(const auto* known, find(name));
  auto out = answer(*known);
  lock.unlock();
  return with_nodes(std::move(out));
}

std::vector<TargetAnswer> Compute::list() const {
  std::vector<TargetAnswer> out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, known] : targets_) out.push_back(answer(known));
  }
  for (auto& one : out) one = with_nodes(std::move(one));
  return out;
}

Result<void> Compute::remove(const std::string& name) {
  const std::lock_guard changing(changing_);
  std::function<std::size_t(const std::string&)> jobs_for;
  {
    const std::lock_guard lock(mutex_);
    jobs_for = calls_.jobs_for;
  }
  const auto waiting = jobs_for ? jobs_for(name) : 0;
  std::map<std::string, Known>::node_type taken;
  {
    const std::lock_guard lock(mutex_);
    LATHE_TRY(const auto* known, find(name));
    if (known->rules.local) return fail(Code::conflict, "local is this machine: it cannot be deleted");
    if (known->target.partition && engine_ == nullptr)
      return fail(Code::conflict, fmt::format("whether {} has jobs is not known, since this server is not connected to Slurm: start it with --slurm", name));
    const auto theirs = known->target.partition ? engine_->jobs(name) : 0;
    if (const auto jobs = std::max(scheduler_.waiting(name), waiting) + scheduler_.running(name) + theirs; jobs > 0)
      return fail(Code::conflict, fmt::format("{} has {} job{} running or waiting: cancel them first (`lathe job list`)", name, jobs, jobs == 1 ? "" : "s"));
    taken = targets_.extract(name);  // from now on nobody queues for it
  }
  const auto gone = db_.write([&](db::Connection& c) { return delete_target(c, name); });
  std::unique_lock lock(mutex_);
  if (!gone) {
    targets_.insert(std::move(taken));
    return fail(gone.error());
  }
  carry_out(lock, decide(TargetGone{name}));
  adapt_clusters(lock);
  return {};
}

}  // namespace lathe::compute
