#include "compute/record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "json/fields.h"

namespace lathe::compute {
namespace {

using json::Array;
using json::Object;
using json::Value;

/// Everything that a line can hold. Which of it is there depends on what it tells.
struct WireLine {
  std::optional<std::int64_t> at_us;
  std::optional<std::string> what;
  std::optional<std::string> name;
  std::optional<std::string> target;
  std::optional<Value> rules;
  std::optional<Value> need;
  std::optional<std::vector<std::string>> nodes;  ///< "c-0" or "c-0:0,1"
  std::optional<std::int64_t> from_us;
  std::optional<std::int64_t> to_us;
  std::optional<std::map<std::string, std::int64_t>> counts;
  std::optional<std::vector<std::int64_t>> numbers;
  std::optional<std::string> text;
  std::optional<std::vector<Value>> parts;
  std::optional<std::vector<Value>> decided;
};

struct WireRules {
  std::string name;
  bool local = false;
  bool holds = false;
  std::int64_t cores = 0, memory_bytes = 0, gpus = 0, gpu_share = 0, min = 0, max = 0, slots = 0, idle_s = 0, per_user = 0;
  std::optional<bool> works;
  std::optional<std::vector<std::int64_t>> first_gpus;
};
struct WireNeed {
  std::int64_t nodes = 1, tier = 0, priority = 0, limit_s = 0, number = 0;
  std::string user;
};
struct WirePolicy {
  bool tiers = true, fair = true, backfill = true, preempt = true;
  std::int64_t half_life_s = 0;
};

}  // namespace
}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::WireLine> {
  static constexpr std::string_view name = "Line";
  using T = compute::WireLine;
  static constexpr auto list =
      std::tuple{field("at_us", &T::at_us),     field("what", &T::what),   field("name", &T::name),
                 field("target", &T::target),   field("rules", &T::rules), field("need", &T::need),
                 field("nodes", &T::nodes),     field("from_us", &T::from_us), field("to_us", &T::to_us),
                 field("counts", &T::counts),   field("numbers", &T::numbers), field("text", &T::text),
                 field("parts", &T::parts),     field("decided", &T::decided)};
};
template <>
struct Fields<compute::WireRules> {
  static constexpr std::string_view name = "Rules";
  using T = compute::WireRules;
  static constexpr auto list =
      std::tuple{field("name", &T::name), field("local", &T::local), field("holds", &T::holds),
                 field("cores", &T::cores), field("memory_bytes", &T::memory_bytes), field("gpus", &T::gpus), field("gpu_share", &T::gpu_share),
                 field("min", &T::min), field("max", &T::max), field("slots", &T::slots), field("idle_s", &T::idle_s), field("per_user", &T::per_user),
                 field("works", &T::works), field("first_gpus", &T::first_gpus)};
};
template <>
struct Fields<compute::WireNeed> {
  static constexpr std::string_view name = "Need";
  using T = compute::WireNeed;
  static constexpr auto list = std::tuple{field("nodes", &T::nodes), field("tier", &T::tier), field("priority", &T::priority),
                                          field("limit_s", &T::limit_s), field("number", &T::number), field("user", &T::user)};
};
template <>
struct Fields<compute::WirePolicy> {
  static constexpr std::string_view name = "Policy";
  using T = compute::WirePolicy;
  static constexpr auto list = std::tuple{field("tiers", &T::tiers), field("fair", &T::fair), field("backfill", &T::backfill),
                                          field("preempt", &T::preempt), field("half_life_s", &T::half_life_s)};
};

}  // namespace lathe::json

namespace lathe::compute {
namespace {

template <class Numbers>
std::vector<std::int64_t> wide(const Numbers& numbers) {
  return {numbers.begin(), numbers.end()};
}

Value wire(const Rules& r) {
  WireRules out{r.name, r.local, r.holds, r.node.cores, r.node.memory_bytes, r.node.gpus, r.node.gpu_share,
                r.min_nodes, r.max_nodes, r.slots, r.idle.count(), r.max_nodes_per_user, {}, {}};
  if (r.works) out.works = true;
  if (!r.gpus.empty()) out.first_gpus = wide(r.gpus);
  return json::to_json(out);
}

constexpr std::int64_t kMostNodes = 100'000'000;
constexpr std::int64_t kMostSeconds = 10'000'000'000;

/// A recording may have been damaged, or made up: numbers far from what is written lead nowhere. Errors: `invalid`.
Result<void> within(std::string_view name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return {};
  return fail(Code::invalid, fmt::format("{}: {} is no number that the scheduler writes there", name, value));
}

Result<Time> time_of(std::string_view name, const std::optional<std::int64_t>& value) {
  constexpr std::int64_t kYear2200 = 7'258'118'400'000'000;
  LATHE_CHECK(within(name, value.value_or(0), 0, kYear2200));
  return from_micros(value.value_or(0));
}

Result<Rules> rules_from(const std::optional<Value>& value) {
  if (!value) return fail(Code::invalid, "rules are missing");
  LATHE_TRY(const auto w, json::from_json<WireRules>(*value, "rules"));
  LATHE_CHECK(within("cores", w.cores, 0, kMostNodes));
  LATHE_CHECK(within("memory_bytes", w.memory_bytes, 0, std::int64_t{1} << 60));
  LATHE_CHECK(within("gpus", w.gpus, 0, 1 << 20));
  LATHE_CHECK(within("gpu_share", w.gpu_share, 0, 1000));
  for (const auto count : {w.min, w.max, w.slots}) LATHE_CHECK(within("nodes", count, 0, kMostNodes));
  LATHE_CHECK(within("idle_s", w.idle_s, 0, kMostSeconds));
  LATHE_CHECK(within("per_user", w.per_user, -1, kMostNodes));
  Rules out;
  out.name = w.name;
  out.local = w.local;
  out.node = {w.cores, w.memory_bytes, w.gpus, w.gpu_share};
  out.min_nodes = w.min;
  out.max_nodes = w.max;
  out.slots = w.slots;
  out.idle = std::chrono::seconds{w.idle_s};
  out.holds = w.holds;
  out.max_nodes_per_user = w.per_user;
  out.works = w.works.value_or(false);
  for (const auto number : w.first_gpus.value_or(std::vector<std::int64_t>{})) {
    LATHE_CHECK(within("first_gpus", number, 0, 1 << 20));
    out.gpus.push_back(static_cast<int>(number));
  }
  return out;
}

Value wire(const Need& n) {
  return json::to_json(WireNeed{n.nodes, static_cast<std::int64_t>(n.tier), static_cast<std::int64_t>(n.priority), n.limit.count(), n.number, n.user});
}

Result<Need> need_from(const std::optional<Value>& value) {
  if (!value) return fail(Code::invalid, "need is missing");
  LATHE_TRY(const auto w, json::from_json<WireNeed>(*value, "need"));
  if (w.tier < 0 || w.tier > 3 || w.priority < 0 || w.priority > 2) return fail(Code::invalid, "need has no such tier or priority");
  LATHE_CHECK(within("nodes", w.nodes, 0, kMostNodes));
  LATHE_CHECK(within("limit_s", w.limit_s, 0, kMostSeconds));
  return Need{w.nodes, w.user, static_cast<Tier>(w.tier), static_cast<Priority>(w.priority), std::chrono::seconds{w.limit_s}, w.number};
}

std::vector<std::string> wire(const std::vector<NodeGiven>& nodes) {
  std::vector<std::string> out;
  for (const auto& node : nodes) {
    auto& text = out.emplace_back(node.name);
    for (std::size_t i = 0; i < node.gpus.size(); ++i) text += fmt::format("{}{}", i == 0 ? ":" : ",", node.gpus[i]);
  }
  return out;
}

std::vector<NodeGiven> nodes_from(const std::optional<std::vector<std::string>>& texts) {
  std::vector<NodeGiven> out;
  for (const auto& text : texts.value_or(std::vector<std::string>{})) {
    const auto colon = std::min(text.find(':'), text.size());
    auto& node = out.emplace_back(NodeGiven{text.substr(0, colon), {}});
    for (const auto number : split(std::string_view(text).substr(std::min(colon + 1, text.size())), ','))
      node.gpus.push_back(std::atoi(std::string(number).c_str()));
  }
  return out;
}

WireLine line_of(const Event& event) {
  WireLine out;
  std::visit(Overloaded{[&](const TargetPut& e) { out.what = "target_put", out.rules = wire(e.rules); },
                        [&](const TargetGone& e) { out.what = "target_gone", out.name = e.name; },
                        [&](const JobQueued& e) {
                          out.what = "queued", out.name = e.job, out.target = e.target, out.need = wire(e.need);
                          if (e.not_before != Time{}) out.from_us = micros(e.not_before);
                        },
                        [&](const JobFound& e) {
                          out.what = "found", out.name = e.job, out.target = e.target, out.need = wire(e.need), out.nodes = wire(e.nodes);
                          out.from_us = micros(e.since);
                        },
                        [&](const Resumed& e) {
                          out.what = "resumed";
                          out.parts.emplace();
                          for (const auto& rules : e.targets) out.parts->push_back(json::to_json(line_of(TargetPut{rules})));
                          for (const auto& job : e.jobs) out.parts->push_back(json::to_json(line_of(job)));
                        },
                        [&](const JobGone& e) {
                          out.what = "gone", out.name = e.job;
                          if (e.outcome != Outcome::ended) out.text = e.outcome == Outcome::preempted ? "preempted" : "node_lost";
                        },
                        [&](const JobRan& e) {
                          out.what = "ran", out.target = e.target, out.need = wire(e.need), out.from_us = micros(e.from), out.to_us = micros(e.to);
                        },
                        [&](const QuotasPut& e) { out.what = "quotas", out.counts = e.nodes; },
                        [&](const GpusBusy& e) { out.what = "gpus_busy", out.numbers = wide(e.gpus); },
                        [&](const Tick&) { out.what = "tick"; }},
             event);
  return out;
}

WireLine line_of(const Decision& decision) {
  WireLine out;
  std::visit(Overloaded{[&](const NodeStarted& d) { out.what = "node_started", out.target = d.target, out.name = d.node; },
                        [&](const NodeLeft& d) { out.what = "node_left", out.target = d.target, out.name = d.node, out.text = d.why; },
                        [&](const JobPlaced& d) { out.what = "placed", out.target = d.target, out.name = d.job, out.nodes = wire(d.nodes); },
                        [&](const JobPreempted& d) { out.what = "preempted", out.target = d.target, out.name = d.job, out.text = d.winner; }},
             decision);
  return out;
}

Result<Event> event_from(const WireLine& line) {
  const auto what = line.what.value_or("");
  const auto name = line.name.value_or("");
  const auto target = line.target.value_or("");
  if (what == "tick") return Event{Tick{}};
  if (what == "target_gone") return Event{TargetGone{name}};
  if (what == "quotas") return Event{QuotasPut{line.counts.value_or(std::map<std::string, std::int64_t>{})}};
  if (what == "gpus_busy") {
    const auto numbers = line.numbers.value_or(std::vector<std::int64_t>{});
    GpusBusy busy;
    for (const auto number : numbers) busy.gpus.insert(static_cast<int>(number));
    return Event{busy};
  }
  if (what == "gone") {
    const auto text = line.text.value_or("");
    return Event{JobGone{name, text == "preempted" ? Outcome::preempted : text == "node_lost" ? Outcome::node_lost : Outcome::ended}};
  }
  if (what == "target_put") {
    LATHE_TRY(auto rules, rules_from(line.rules));
    return Event{TargetPut{std::move(rules)}};
  }
  if (what == "resumed") {
    Resumed resumed;
    for (const auto& part : line.parts.value_or(std::vector<Value>{})) {
      LATHE_TRY(const auto inner, json::from_json<WireLine>(part, "parts"));
      LATHE_TRY(const auto event, event_from(inner));
      if (const auto* put = std::get_if<TargetPut>(&event)) resumed.targets.push_back(put->rules);
      if (const auto* found = std::get_if<JobFound>(&event)) resumed.jobs.push_back(*found);
    }
    return Event{std::move(resumed)};
  }
  LATHE_TRY(auto need, need_from(line.need));
  if (what == "queued" && line.from_us == micros(Time::max()))
    return Event{JobQueued{name, target, std::move(need), Time::max()}};
  LATHE_TRY(const auto from, time_of("from_us", line.from_us));
  LATHE_TRY(const auto to, time_of("to_us", line.to_us));
  if (what == "queued") return Event{JobQueued{name, target, std::move(need), from}};
  if (what == "found") return Event{JobFound{name, target, std::move(need), nodes_from(line.nodes), from}};
  if (what == "ran") return Event{JobRan{target, std::move(need), from, to}};
  return fail(Code::invalid, fmt::format("there is no event \"{}\"", printable(what)));
}

Result<Decision> decision_from(const Value& value) {
  LATHE_TRY(const auto line, json::from_json<WireLine>(value, "decided"));
  const auto what = line.what.value_or("");
  const auto name = line.name.value_or("");
  const auto target = line.target.value_or("");
  const auto text = line.text.value_or("");
  if (what == "node_started") return Decision{NodeStarted{target, name}};
  if (what == "node_left") return Decision{NodeLeft{target, name, text}};
  if (what == "placed") return Decision{JobPlaced{name, target, nodes_from(line.nodes)}};
  if (what == "preempted") return Decision{JobPreempted{name, target, text}};
  return fail(Code::invalid, fmt::format("there is no decision \"{}\"", printable(what)));
}

/// Behind the last whole line of a file: a crash may have cut off what follows.
off_t end_of_last_line(int fd) {
  std::array<char, 4096> part;
  for (auto end = ::lseek(fd, 0, SEEK_END); end > 0;) {
    const auto begin = std::max<off_t>(end - static_cast<off_t>(part.size()), 0);
    const auto got = ::pread(fd, part.data(), static_cast<std::size_t>(end - begin), begin);
    if (got <= 0) return 0;
    const auto newline = std::string_view(part.data(), static_cast<std::size_t>(got)).rfind('\n');
    if (newline != std::string_view::npos) return begin + static_cast<off_t>(newline) + 1;
    end = begin;
  }
  return 0;
}

Result<Snapshot> snapshot_from(const WireLine& line) {
  Snapshot out;
  LATHE_TRY(out.at, time_of("at_us", line.at_us));
  LATHE_CHECK(within("period", line.from_us.value_or(-1), -1, kMostSeconds));
  out.period = line.from_us.value_or(-1);
  LATHE_TRY(const auto machine, rules_from(line.rules));
  out.machine = machine.node;
  LATHE_TRY(const auto policy, json::from_json<WirePolicy>(line.need.value_or(Value()), "policy"));
  LATHE_CHECK(within("half_life_s", policy.half_life_s, 1, kMostSeconds));
  out.policy = {policy.tiers, policy.fair, policy.backfill, policy.preempt, std::chrono::seconds{policy.half_life_s}};
  out.used = line.counts.value_or(out.used);
  for (const auto& part : line.parts.value_or(std::vector<Value>{})) {
    LATHE_TRY(const auto inner, json::from_json<WireLine>(part, "parts"));
    const auto what = inner.what.value_or("");
    if (what == "idle_node" && !out.targets.empty()) {
      const auto nodes = nodes_from(inner.nodes);
      LATHE_TRY(const auto since, time_of("from_us", inner.from_us));
      if (!nodes.empty()) out.targets.back().idle.push_back({nodes[0].name, nodes[0].gpus, since});
      continue;
    }
    LATHE_TRY(const auto event, event_from(inner));
    if (const auto* put = std::get_if<TargetPut>(&event)) {
      auto& of = out.targets.emplace_back();
      of.rules = put->rules;
      of.next_number = inner.from_us.value_or(0);
      for (const auto time : inner.numbers.value_or(std::vector<std::int64_t>{})) of.run_times.emplace_back(time);
    }
    if (const auto* put = std::get_if<QuotasPut>(&event)) out.quotas = put->nodes;
    if (const auto* busy = std::get_if<GpusBusy>(&event)) out.busy_gpus = busy->gpus;
    if (const auto* queued = std::get_if<JobQueued>(&event)) out.waiting.push_back({queued->job, queued->target, queued->need, queued->not_before});
    if (const auto* found = std::get_if<JobFound>(&event)) {
      LATHE_TRY(const auto leave_by, time_of("to_us", inner.to_us));
      out.running.push_back({found->job, found->target, found->need, found->nodes, found->since, leave_by});
    }
  }
  return out;
}

}  // namespace

std::string print_event(const Event& event, Time at, const std::vector<Decision>& decisions) {
  auto line = line_of(event);
  line.at_us = micros(at);
  if (!decisions.empty()) {
    line.decided.emplace();
    for (const auto& decision : decisions) line.decided->push_back(json::to_json(line_of(decision)));
  }
  return json::print(json::to_json(line));
}

std::string print_snapshot(const Snapshot& snapshot) {
  WireLine line;
  line.what = "snapshot";
  line.at_us = micros(snapshot.at);
  line.from_us = snapshot.period;
  Rules machine;
  machine.node = snapshot.machine;
  line.rules = wire(machine);
  const auto& policy = snapshot.policy;
  line.need = json::to_json(WirePolicy{policy.tiers, policy.fair, policy.backfill, policy.preempt, policy.half_life.count()});
  line.counts = snapshot.used;
  auto& parts = line.parts.emplace();
  const auto add = [&](const WireLine& part) { parts.push_back(json::to_json(part)); };
  add(line_of(QuotasPut{snapshot.quotas}));
  add(line_of(GpusBusy{snapshot.busy_gpus}));
  for (const auto& of : snapshot.targets) {
    auto put = line_of(TargetPut{of.rules});
    put.from_us = of.next_number;
    put.numbers.emplace();
    for (const auto time : of.run_times) put.numbers->push_back(time.count());
    add(put);
    for (const auto& idle : of.idle) {
      WireLine node;
      node.what = "idle_node";
      node.nodes = wire(std::vector<NodeGiven>{{idle.name, idle.gpus}});
      node.from_us = micros(idle.since);
      add(node);
    }
  }
  for (const auto& job : snapshot.running) {
    auto found = line_of(JobFound{job.job, job.target, job.need, job.nodes, job.since});
    if (job.leave_by != Time{}) found.to_us = micros(job.leave_by);
    add(found);
  }
  for (const auto& job : snapshot.waiting) add(line_of(JobQueued{job.job, job.target, job.need, job.not_before}));
  return json::print(json::to_json(line));
}

Result<Recording> read_recording(const std::filesystem::path& file) {
  LATHE_TRY(const auto text, read_file(file));
  Recording out;
  std::size_t number = 0;
  bool begun = false;
  for (const auto piece : split(text, '\n')) {
    ++number;
    if (piece.empty()) continue;
    const bool cut_off = piece.data() + piece.size() == text.data() + text.size();
    const auto wrong = [&](const Error& error) { return fail(Code::invalid, fmt::format("{}:{}: {}", file.string(), number, error.message)); };
    const auto value = json::parse(piece);
    if (!value && cut_off) break;
    if (!value) return wrong(value.error());
    const auto line = json::from_json<WireLine>(*value);
    if (!line) return wrong(line.error());
    if (!begun && line->what != "snapshot")
      return wrong({Code::invalid, "is no recording of the scheduler: it does not begin with a snapshot"});
    if (line->what == "snapshot") {
      auto snapshot = snapshot_from(*line);
      if (!snapshot) return wrong(snapshot.error());
      if (!std::exchange(begun, true)) out.start = std::move(*snapshot);
      else out.restarts.insert_or_assign(out.events.size(), std::move(*snapshot));
      continue;
    }
    auto event = event_from(*line);
    if (!event) return wrong(event.error());
    const auto at = time_of("at_us", line->at_us);
    if (!at) return wrong(at.error());
    auto& recorded = out.events.emplace_back(Recorded{*at, std::move(*event), {}});
    for (const auto& decided : line->decided.value_or(std::vector<Value>{})) {
      auto decision = decision_from(decided);
      if (!decision) return wrong(decision.error());
      recorded.decisions.push_back(std::move(*decision));
    }
  }
  if (!begun) return fail(Code::invalid, file.string() + ": is empty");
  return out;
}

Result<std::unique_ptr<Recorder>> Recorder::open(const std::filesystem::path& folder) {
  LATHE_CHECK(make_folder(folder, 0700));
  return std::unique_ptr<Recorder>(new Recorder(folder));
}

void Recorder::open_file(int flags) {
  const auto path = folder_ / "events.jsonl";
  file_ = Fd{::open(path.c_str(), flags | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (!file_) log::warn("the scheduler's events are not recorded why={}", errno_error("cannot write " + path.string()).message);
}

void Recorder::go_on(const Snapshot& snapshot) {
  open_file(O_RDWR);
  const auto end = file_ ? end_of_last_line(file_.get()) : 0;
  bytes_ = static_cast<std::uint64_t>(end);
  if (full() || (file_ && ::ftruncate(file_.get(), end) != 0)) return begin(snapshot);
  write(print_snapshot(snapshot));
}

void Recorder::begin(const Snapshot& snapshot) {
  std::error_code error;
  std::filesystem::rename(folder_ / "events.jsonl", folder_ / "events.1.jsonl", error);  // there is none the first time
  open_file(O_WRONLY | O_TRUNC);
  bytes_ = 0;
  write(print_snapshot(snapshot));
  most_ = std::max(kMostBytes, 2 * bytes_);
}

void Recorder::add(const Event& event, Time at, const std::vector<Decision>& decisions) {
  if (!file_ || (std::holds_alternative<Tick>(event) && decisions.empty())) return;
  write(print_event(event, at, decisions));
}

void Recorder::write(std::string line) {
  if (!file_) return;
  line.push_back('\n');
  bytes_ += line.size();
  if (const auto written = write_all(file_.get(), line, "the scheduler's events"); written) return;
  log::warn("the scheduler's events are recorded no further until the next start");
  file_ = Fd{};
}

}  // namespace lathe::compute
