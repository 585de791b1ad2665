#include "compute/instance.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace lathe::compute {
namespace {

Result<Schedule> read_schedule(const json::Object& document, const std::string& path, json::Report& report) {
  static const std::vector<std::string> kFields = {
      "name", "action", "state", "status", "trigger", "schedule_id", "provisioning_state"};
  for (const auto& member : document) {
    const std::string key(member.key().data(), member.key().size());
    if (std::find(kFields.begin(), kFields.end(), key) == kFields.end())
      return fail(Code::invalid, fmt::format("{}{}: {}", path, key, unknown_name("field", key, kFields)));
  }
  Schedule out;
  LATHE_TRY(const auto name, json::get_string(document, "name"));
  out.name = name.value_or("");
  LATHE_TRY(const auto action, json::get_string(document, "action"));
  const auto verb = to_lower(action.value_or(""));
  if (verb != "start" && verb != "stop")
    return fail(Code::invalid, fmt::format("{}action: must be start or stop, not \"{}\"", path, action.value_or("")));
  out.action = verb == "start" ? Schedule::Action::start : Schedule::Action::stop;
  for (const char* key : {"state", "status"}) {
    LATHE_TRY(const auto state, json::get_string(document, key));
    const auto word = to_lower(state.value_or("enabled"));
    if (word != "enabled" && word != "disabled")
      return fail(Code::invalid, fmt::format("{}{}: must be enabled or disabled, not \"{}\"", path, key, *state));
    out.enabled = out.enabled && word == "enabled";
  }
  LATHE_TRY(const auto* trigger, json::get_object(document, "trigger"));
  if (trigger == nullptr) return fail(Code::invalid, path + "trigger: is missing");
  LATHE_TRY(out.trigger, Trigger::read(*trigger, path + "trigger.", report));
  return out;
}

/// The last time that the trigger acts after `from` and not after `to`.
std::optional<Time> last_between(const Trigger& trigger, Time from, Time to) {
  std::optional<Time> last;
  // Of a long absence only its end counts: the last month, and where nothing was in it the last ten years.
  for (const auto back : {std::chrono::days{32}, std::chrono::days{3660}}) {
    auto at = std::max(from, to - back);
    for (auto next = trigger.next_after(at); next && *next <= to; next = trigger.next_after(*next)) last = next;
    if (last || at == from) break;
  }
  return last;
}

}  // namespace

Result<void> read_schedules(const json::Object& schedules, Instance& instance, json::Report& report) {
  for (const auto& member : schedules) {
    const std::string key(member.key().data(), member.key().size());
    if (key != "compute_start_stop")
      return fail(Code::invalid,
                  fmt::format("schedules.{}: {}", key, unknown_name("field", key, {"compute_start_stop"})));
  }
  instance.schedules.clear();
  instance.read.clear();
  LATHE_TRY(const auto* list, json::get_array(schedules, "compute_start_stop"));
  if (list == nullptr) return {};
  for (const auto& item : *list) {
    const auto path = fmt::format("schedules.compute_start_stop[{}].", instance.read.size());
    if (!item.is_object())
      return fail(Code::invalid,
                  fmt::format("{}: must be a map, not {}", path.substr(0, path.size() - 1), json::kind_name(item)));
    LATHE_TRY(auto schedule, read_schedule(item.get_object(), path, report));
    if (schedule.name.empty()) schedule.name = fmt::format("{}", instance.read.size() + 1);
    instance.read.push_back(std::move(schedule));
    instance.schedules.push_back(item);
  }
  return {};
}

std::optional<Due> due(const Instance& instance, std::optional<Time> idle_since, Time now) {
  std::optional<Due> out;
  for (const auto& schedule : instance.read) {
    if (!schedule.enabled) continue;
    const auto at = last_between(schedule.trigger, instance.acted, now);
    if (at && (!out || *at > out->at)) out = Due{schedule.action, "Schedule", "schedule " + schedule.name, *at};
  }
  if (out) return out;
  const std::chrono::seconds idle{instance.idle_shutdown_s};
  if (instance.wanted && idle.count() > 0 && idle_since && now - *idle_since >= idle)
    return Due{Schedule::Action::stop, "IdleShutdown", fmt::format("idle for {} s", idle.count()), *idle_since + idle};
  return std::nullopt;
}

std::optional<Time> next_due(const Instance& instance, std::optional<Time> idle_since) {
  std::optional<Time> soonest;
  const auto take = [&](std::optional<Time> at) {
    if (at && (!soonest || *at < *soonest)) soonest = at;
  };
  for (const auto& schedule : instance.read)
    if (schedule.enabled) take(schedule.trigger.next_after(instance.acted));
  if (instance.wanted && instance.idle_shutdown_s > 0 && idle_since)
    take(*idle_since + std::chrono::seconds{instance.idle_shutdown_s});
  return soonest;
}

}  // namespace lathe::compute
