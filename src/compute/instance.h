#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "compute/triggers.h"
#include "json/fields.h"

/// What a compute instance has beyond a cluster: it is started and stopped, by people, by schedules, and when it is idle.
namespace lathe::compute {

/// What was last done to an instance; Azure's names.
struct LastOperation {
  std::string operation_name;     ///< Create, Start, Stop, Restart
  std::string operation_time;
  std::string operation_status;   ///< Succeeded, InProgress
  std::string operation_trigger;  ///< User, Schedule, IdleShutdown
};

struct Schedule {
  enum class Action { start, stop };
  std::string name;
  Action action = Action::stop;
  bool enabled = true;
  Trigger trigger;
};

struct Instance {
  bool wanted = true;              ///< started, and not stopped since
  std::int64_t idle_shutdown_s = 0;  ///< 0: never
  json::Array schedules;           ///< as they were sent, one for each of `read`
  std::vector<Schedule> read;
  Time acted{};  ///< what schedules asked for up to then has been done
  LastOperation last;
};

/// Reads `schedules: {compute_start_stop: [...]}` of an Azure document. Errors: `invalid`, beginning with the field.
Result<void> read_schedules(const json::Object& schedules, Instance& instance, json::Report& report);

/// What is to be done to an instance at `now`.
struct Due {
  Schedule::Action action = Schedule::Action::stop;
  std::string trigger;  ///< Schedule, IdleShutdown
  std::string why;      ///< "schedule evening", "idle for 1800 s"
  Time at{};            ///< when it was due
};

/// Of what enabled schedules asked for after `instance.acted`, the last: what was missed meanwhile is made up for once.
/// Otherwise a stop where it runs and has been idle for its time. nullopt: nothing.
std::optional<Due> due(const Instance& instance, std::optional<Time> idle_since, Time now);
/// When `due` may answer something next, if nothing else happens.
std::optional<Time> next_due(const Instance& instance, std::optional<Time> idle_since);

}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::LastOperation> {
  static constexpr std::string_view name = "ComputeOperation";
  using T = compute::LastOperation;
  static constexpr auto list = std::tuple{field("operation_name", &T::operation_name, "Create, Start, Stop or Restart"),
                                          field("operation_time", &T::operation_time),
                                          field("operation_status", &T::operation_status, "Succeeded or InProgress"),
                                          field("operation_trigger", &T::operation_trigger, "User, Schedule or IdleShutdown")};
};

}  // namespace lathe::json
