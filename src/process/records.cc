#include "process/records.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "json/json.h"

namespace lathe::process {
namespace {

class SpecText {
 public:
  void add(std::string_view key, std::string_view value) {
    broken_ = broken_ || value.find('\0') != std::string_view::npos;
    text_.append(key).append("=").append(value).push_back('\0');
  }
  void add(std::string_view key, std::int64_t value) { add(key, std::to_string(value)); }
  Result<std::string> finish() {
    add("end", "");
    if (broken_) return fail(Code::invalid, "an argument, a variable or a path holds a NUL byte");
    return std::move(text_);
  }

 private:
  std::string text_;
  bool broken_ = false;
};

void add_limits_v2(SpecText& text, const Limits& limits, const Cgroups& groups, const std::string& group) {
  const auto has = [&](const char* controller) {
    const auto& all = groups.v2_controllers;
    return std::find(all.begin(), all.end(), controller) != all.end();
  };
  if (limits.cores > 0 && has("cpu"))
    text.add("set",
             group + "/cpu.max\n" + std::to_string(std::llround(std::max(limits.cores, 0.01) * 1e5)) + " 100000");
  if (limits.memory_bytes > 0 && has("memory")) {
    text.add("set", group + "/memory.max\n" + std::to_string(limits.memory_bytes));
    text.add("set", group + "/memory.oom.group\n1");
  }
  if (limits.pids > 0 && has("pids")) {
    text.add("set", group + "/pids.max\n" + std::to_string(limits.pids));
    text.add("pids", group + "/pids.events");
  }
  if (has("memory")) text.add("oom", group + "/memory.events");
}

void add_limits_v1(SpecText& text, const Limits& limits, const Cgroups& groups, const std::string& name) {
  for (const auto& [controller, parent] : groups.v1) {
    const auto group = parent + "/" + name;
    if (controller == "cpu" && limits.cores > 0) {
      text.add("group", group);
      text.add("set", group + "/cpu.cfs_quota_us\n" + std::to_string(std::llround(std::max(limits.cores, 0.01) * 1e5)));
    } else if (controller == "memory" && limits.memory_bytes > 0) {
      text.add("group", group);
      text.add("set", group + "/memory.limit_in_bytes\n" + std::to_string(limits.memory_bytes));
      text.add("oom", group + "/memory.oom_control");
    } else if (controller == "pids" && (limits.pids > 0 || groups.v2.empty())) {
      text.add("group", group);
      if (limits.pids > 0) {
        text.add("set", group + "/pids.max\n" + std::to_string(limits.pids));
        text.add("pids", group + "/pids.events");
      }
    }
  }
}

void add_groups(SpecText& text, const Spec& spec, const Cgroups& groups, const std::string& name) {
  if (!groups.v2.empty()) {
    const auto group = groups.v2 + "/" + name;
    text.add("group", group);
    text.add("kill", group + "/cgroup.kill");
    text.add("usage", group + "/cpu.stat");
    add_limits_v2(text, spec.limits, groups, group);
  }
  add_limits_v1(text, spec.limits, groups, name);
  if (!spec.denied_devices.empty() && !groups.devices.empty()) {
    const auto group = groups.devices + "/" + name;
    text.add("group", group);
    for (const auto& device : spec.denied_devices)
      text.add("set", group + "/devices.deny\nc " + std::to_string(device.major) + ":" + std::to_string(device.minor) + " rwm");
  }
  text.add("note", groups.sentence);
}

std::int64_t number(const json::Object& object, std::string_view key) {
  const auto value = json::get_int(object, key);
  return value ? value->value_or(0) : 0;
}

std::string text_of(const json::Object& object, std::string_view key) {
  const auto value = json::get_string(object, key);
  return value ? value->value_or("") : "";
}

/// Nothing when the file is not there.
Result<std::optional<json::Object>> read_record(const std::filesystem::path& path) {
  const auto text = read_file(path);
  if (!text && text.error().code == Code::not_found) return std::nullopt;
  if (!text) return fail(text.error());
  auto record = json::parse_object(*text);
  if (!record) return fail(Code::internal, path.string() + " is damaged: " + record.error().message);
  return std::optional<json::Object>(std::move(*record));
}

/// What the spec allowed; 0: no limit.
std::int64_t memory_limit_in(const std::filesystem::path& folder) {
  const auto text = read_file(folder / "spec");
  if (!text) return 0;
  for (const auto record : split(*text, '\0'))
    for (const std::string_view name : {"/memory.max\n", "/memory.limit_in_bytes\n"})
      if (const auto at = record.find(name); record.starts_with("set=") && at != std::string_view::npos)
        return std::atoll(std::string(record.substr(at + name.size())).c_str());
  return 0;
}

Reason parse_reason(std::string_view text) {
  if (text == "timeout") return Reason::timeout;
  if (text == "stopped") return Reason::stopped;
  if (text == "start_failed") return Reason::start_failed;
  return text == "signaled" ? Reason::signaled : Reason::exited;
}

}  // namespace

Result<std::string> print_spec(const Spec& spec, const Cgroups& groups, const std::string& name,
                               const std::filesystem::path& gate) {
  if (spec.argv.empty() || spec.argv.front().empty()) return fail(Code::invalid, "there is no program to run");
  SpecText text;
  text.add("version", kShimProtocol);
  for (const auto& arg : spec.argv) text.add("arg", arg);
  for (const auto& [key, value] : spec.env) {
    if (key.empty() || key.find('=') != std::string::npos)
      return fail(Code::invalid, "not a name for an environment variable: \"" + key + "\"");
    text.add("env", key + "=" + value);
  }
  text.add("cwd", spec.cwd.string());
  if (spec.account) {
    text.add("uid", spec.account->uid);
    text.add("gid", spec.account->gid);
  }
  for (const auto& bind : spec.binds) text.add("bind", bind.source.string() + "\n" + bind.target.string());
  for (const auto& limit : spec.resource_limits)
    text.add("rlimit",
             std::to_string(limit.resource) + " " + std::to_string(limit.soft) + " " + std::to_string(limit.hard));
  for (const auto& rank : spec.ranks) {
    std::string value = rank.helper ? "helper" : "main";
    for (const auto& [key, is] : rank.env) value += "\n" + key + "=" + is;
    text.add("rank", value);
  }
  if (!gate.empty()) text.add("gate", gate.string());
  text.add("log_bytes", static_cast<std::int64_t>(spec.log_bytes));
  text.add("limit_ms", spec.time_limit.count());
  text.add("grace_ms", spec.grace.count());
  text.add("restarts", spec.restarts_per_minute);
  add_groups(text, spec, groups, name);
  return text.finish();
}

std::vector<std::string> groups_of(const std::filesystem::path& folder) {
  std::vector<std::string> out;
  const auto text = read_file(folder / "spec");
  if (!text) return out;
  for (const auto record : split(*text, '\0'))
    if (record.starts_with("group=")) out.emplace_back(record.substr(6));
  return out;
}

Result<std::optional<State>> read_state(const std::filesystem::path& folder) {
  LATHE_TRY(const auto record, read_record(folder / "state.json"));
  if (!record) return std::nullopt;
  return State{static_cast<int>(number(*record, "pid")), number(*record, "starttime"), text_of(*record, "boot_id"),
               static_cast<int>(number(*record, "job_pid"))};
}

Result<std::optional<End>> read_end(const std::filesystem::path& folder) {
  LATHE_TRY(const auto record, read_record(folder / "exit.json"));
  if (!record) return std::nullopt;
  End out;
  out.reason = parse_reason(text_of(*record, "reason"));
  if (json::find(*record, "code") != nullptr) out.code = static_cast<int>(number(*record, "code"));
  if (json::find(*record, "signal") != nullptr) out.signal = static_cast<int>(number(*record, "signal"));
  if (json::find(*record, "rank") != nullptr) out.rank = static_cast<std::size_t>(number(*record, "rank"));
  out.error = text_of(*record, "error");
  out.oom_killed = json::get_bool(*record, "oom_killed").value_or(false).value_or(false);
  out.pids_refused = number(*record, "pids_refused");
  out.memory_limit_bytes = memory_limit_in(folder);
  out.cgroup = text_of(*record, "cgroup");
  out.started = from_micros(number(*record, "started_us"));
  if (const auto at = number(*record, "user_code_us"); at > 0) out.user_code = from_micros(at);
  out.ended = from_micros(number(*record, "ended_us"));
  const auto decided = number(*record, "decided_us");
  out.decided = decided > 0 ? from_micros(decided) : out.ended;
  out.cpu_us = number(*record, "cpu_us");
  out.max_rss_bytes = number(*record, "max_rss_bytes");
  out.restarts = number(*record, "restarts");
  out.log_lost_bytes = number(*record, "log_lost_bytes");
  return out;
}

std::optional<ProcessFacts> facts_of(int pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat ? stat->rfind(')') : std::string::npos;  // the name before it may hold anything
  if (name_end == std::string::npos || name_end + 2 > stat->size()) return std::nullopt;
  const auto fields = split(std::string_view(*stat).substr(name_end + 2), ' ');
  constexpr std::size_t kState = 0;  // field 3 of proc(5), and so on
  constexpr std::size_t kSession = 3;
  constexpr std::size_t kStartTime = 19;
  if (fields.size() <= kStartTime) return std::nullopt;
  return ProcessFacts{fields[kState] == "Z" || fields[kState] == "X", std::atoi(std::string(fields[kSession]).c_str()),
                      std::atoll(std::string(fields[kStartTime]).c_str())};
}

bool this_boot(const State& state) {
  const auto boot = read_file("/proc/sys/kernel/random/boot_id");
  return boot && trim(*boot) == state.boot_id;
}

Fd open_shim(const State& state) {
  Fd process{static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0))};
  if (!process || !this_boot(state)) return Fd{};
  const auto facts = facts_of(state.pid);
  return facts && facts->start_time == state.start_time ? std::move(process) : Fd{};
}

}  // namespace lathe::process
