#include "compute/targets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "compute/slurm_target.h"
#include "json/fields.h"

namespace lathe::compute {
namespace {

using json::Object;
using json::Report;

Result<void> take_string(const Object& document, std::string_view key, std::string& into) {
  LATHE_TRY(auto value, json::get_string(document, key));
  if (value) into = std::move(*value);
  return {};
}

Result<void> take_count(const Object& document, std::string_view key, std::int64_t least, std::int64_t& into) {
  auto value = json::get_int(document, key);
  if (!value)
    return fail(Code::invalid,
                fmt::format("{}: must be a whole number, not {}", key, json::print(*json::find(document, key))));
  if (!*value) return {};
  if (**value < least || **value > 1'000'000)
    return fail(Code::invalid, fmt::format("{}: must be from {} to 1000000, not {}", key, least, **value));
  into = **value;
  return {};
}

/// `null` takes a setting away.
bool takes_away(const Object& document, std::string_view key) {
  return document.contains(key) && json::find(document, key) == nullptr;
}

/// Azure limits names of compute to letters, digits and dashes.
Result<void> check_name(const std::string& name) {
  const bool good =
      !name.empty() && name.size() <= 32 && std::isalpha(static_cast<unsigned char>(name[0])) != 0 &&
      name.back() != '-' &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; });
  if (!good)
    return fail(
        Code::invalid,
        fmt::format("name: must be 1 to 32 letters, digits and dashes, beginning with a letter, not \"{}\"", name));
  if (name == "local" || name == "serverless")
    return fail(Code::invalid, fmt::format("name: \"{}\" is there without being created: choose another name", name));
  return {};
}

/// Fields of both types that change nothing here, and why.
const std::map<std::string_view, std::string_view>& unused_fields() {
  static const std::map<std::string_view, std::string_view> kUnused = {
      {"location", "nodes are slices of this machine"},
      {"network_settings", "nodes are slices of this machine"},
      {"ssh_settings", "nodes are slices of this machine: log in to it as you always do"},
      {"ssh_public_access_enabled", "nodes are slices of this machine"},
      {"identity", "jobs act as the user who submitted them"},
      {"enable_node_public_ip", "nodes are slices of this machine"},
      {"create_on_behalf_of", "an instance is made by the user who asks for it"},
      {"setup_scripts", "nothing is installed on an instance: it is a slice of this machine"},
      {"custom_applications", "no containers are started on an instance"},
      {"services", "Azure fills it in"},
      {"enable_sso", "the server's own tokens are used"},
      {"enable_root_access", "jobs run as accounts without privileges"},
      {"enable_os_patching", "the operating system is this machine's"},
      {"release_quota_on_stop", "a stopped instance never holds anything"},
      {"properties", "Lathe keeps tags, not properties"},
  };
  return kUnused;
}

Result<void> check_fields(const Object& document, const Target& target, Report& report) {
  std::vector<std::string> known = {"$schema", "name", "type", "size", "description", "tags"};
  const std::vector<std::string> cluster = {"min_instances", "max_instances", "idle_time_before_scale_down", "tier",
                                            "max_instances_per_user"};
  const std::vector<std::string> instance = {"idle_time_before_shutdown", "idle_time_before_shutdown_minutes",
                                             "schedules"};
  const auto& own = target.is_instance() ? instance : cluster;
  const auto& others = target.is_instance() ? cluster : instance;
  known.insert(known.end(), own.begin(), own.end());
  const auto in = [](const std::vector<std::string>& list, std::string_view key) {
    return std::find(list.begin(), list.end(), key) != list.end();
  };
  for (const auto& member : document) {
    const std::string_view key(member.key().data(), member.key().size());
    if (in(known, key)) continue;
    if (const auto unused = unused_fields().find(key); unused != unused_fields().end())
      report.push_back({std::string(key), "ignored", std::string(unused->second)});
    else if (in(others, key))
      return fail(Code::invalid, fmt::format("{}: goes with the type {}, not with {}", key,
                                             target.is_instance() ? "amlcompute" : "computeinstance", target.type));
    else
      return fail(Code::invalid, fmt::format("{}: {}", key, unknown_name("field", key, known)));
  }
  return {};
}

Result<void> read_cluster(const Object& document, Target& target) {
  LATHE_CHECK(take_count(document, "min_instances", 0, target.min_instances));
  LATHE_CHECK(take_count(document, "max_instances", 1, target.max_instances));
  if (target.min_instances > target.max_instances)
    return fail(Code::invalid, fmt::format("min_instances: must not be more than max_instances ({}), not {}",
                                           target.max_instances, target.min_instances));
  LATHE_CHECK(take_count(document, "idle_time_before_scale_down", 0, target.idle_s));
  LATHE_CHECK(take_count(document, "max_instances_per_user", 0, target.max_instances_per_user));
  if (takes_away(document, "max_instances_per_user")) target.max_instances_per_user = 0;
  std::string tier;
  LATHE_CHECK(take_string(document, "tier", tier));
  tier = to_lower(tier);
  if (tier != "low_priority" && tier != "lowpriority" && tier != "dedicated" && !tier.empty())
    return fail(Code::invalid, fmt::format("tier: must be dedicated or low_priority, not \"{}\"", tier));
  if (!tier.empty()) target.low_priority = tier != "dedicated";
  return {};
}

Result<void> read_instance(const Object& document, Target& target, Report& report) {
  auto& instance = target.instance;
  constexpr std::int64_t kMinute = 60;
  if (takes_away(document, "idle_time_before_shutdown") || takes_away(document, "idle_time_before_shutdown_minutes"))
    instance.idle_shutdown_s = 0;
  if (takes_away(document, "schedules")) instance.schedules.clear();
  std::int64_t minutes = 0;
  LATHE_CHECK(take_count(document, "idle_time_before_shutdown_minutes", 1, minutes));
  if (minutes > 0) instance.idle_shutdown_s = minutes * kMinute;
  std::string duration;
  LATHE_CHECK(take_string(document, "idle_time_before_shutdown", duration));
  if (!duration.empty()) {
    const auto time = parse_duration(duration);
    const bool has_unit = std::isdigit(static_cast<unsigned char>(duration.back())) == 0;
    if (!time || !has_unit || time->count() < 1 || time->count() > 366 * 86400)
      return fail(Code::invalid,
                  fmt::format("idle_time_before_shutdown: must be a duration with its unit, such as PT30M or 30m, or null "
                              "for never, not \"{}\"",
                              duration));
    if (minutes > 0 && time->count() != minutes * kMinute)
      return fail(
          Code::invalid,
          fmt::format("idle_time_before_shutdown: is {}, but idle_time_before_shutdown_minutes is {}: give one of them",
                      duration, minutes));
    instance.idle_shutdown_s = time->count();
  }
  LATHE_TRY(const auto* schedules, json::get_object(document, "schedules"));
  if (schedules != nullptr) {
    LATHE_CHECK(read_schedules(*schedules, instance, report));
  }
  return {};
}

std::string engine_text(const Target& target) {
  return target.partition ? json::print(json::to_json(*target.partition)) : "";
}

}  // namespace

Result<Target> read_target(const Object& document, const Target& base, const Sizes& sizes, Report& report) {
  Target target = base;
  LATHE_CHECK(take_string(document, "type", target.type));
  target.type = to_lower(target.type);
  if (!base.name.empty() && target.type != base.type)
    return fail(Code::conflict,
                fmt::format("type: {} is of the type {}, and stays so: choose another name", base.name, base.type));
  if (target.type == "slurm") {
    LATHE_CHECK(take_string(document, "name", target.name));
    LATHE_CHECK(check_name(target.name));
    return read_slurm_target(document, target, report);
  }
  if (target.type != "amlcompute" && target.type != "computeinstance")
    return fail(Code::invalid,
                fmt::format("type: must be amlcompute, computeinstance or slurm, not \"{}\"", target.type));
  LATHE_CHECK(check_fields(document, target, report));
  LATHE_CHECK(take_string(document, "name", target.name));
  LATHE_CHECK(check_name(target.name));
  LATHE_CHECK(take_string(document, "description", target.description));
  if (const auto* tags = json::find(document, "tags")) {
    LATHE_TRY(target.tags, json::from_json<decltype(target.tags)>(*tags, "tags"));
  }

  const bool named = document.contains("size");
  LATHE_CHECK(take_string(document, "size", target.size));
  if (target.size.empty()) {
    target.size = "all";
    report.push_back({"size", "substituted",
                      fmt::format("none was given: {} ({})",
                                  target.is_instance() ? "half of the machine" : "a node is the whole machine, less what deployments reserve",
                                  sizes.machine().words())});
  }
  LATHE_TRY(const auto size, sizes.find(target.size));
  target.size = size.name;
  if (named && size.mapped())
    report.push_back(
        {"size", "substituted",
         fmt::format("{} is {}; a node gets what is here, at most {}", size.name, size.asked.words(),
                     (target.is_instance() && size.elastic() ? sizes.at_most_half(size.given) : size.given).words())});

  if (target.is_instance()) {
    LATHE_CHECK(read_instance(document, target, report));
  } else {
    LATHE_CHECK(read_cluster(document, target));
  }
  return target;
}

Result<Rules> rules_of(const Target& target, const Sizes& sizes, const Resources& reserved) {
  LATHE_TRY(const auto size, sizes.find(target.size));
  Rules rules;
  rules.name = target.name;
  rules.node = sizes.node(size, reserved);
  rules.min_nodes = target.min_instances;
  rules.max_nodes = target.max_instances;
  rules.idle = std::chrono::seconds{target.idle_s};
  if (target.max_instances_per_user > 0) rules.max_nodes_per_user = target.max_instances_per_user;
  if (!target.is_instance()) return rules;
  // Whoever asks for more than there is gets half of it, so that others have room too.
  if (size.elastic()) rules.node = sizes.at_most_half(rules.node);
  rules.min_nodes = rules.max_nodes = target.instance.wanted ? 1 : 0;
  rules.holds = true;
  return rules;
}

namespace {

/// What of an instance is kept, as JSON; '' for a cluster.
std::string instance_text(const Target& target) {
  if (!target.is_instance()) return {};
  const auto& instance = target.instance;
  return json::print(Object{{"wanted", instance.wanted},
                            {"idle_shutdown_s", instance.idle_shutdown_s},
                            {"schedules", instance.schedules},
                            {"acted_us", micros(instance.acted)},
                            {"last", json::to_json(instance.last)}});
}

Instance instance_of(const std::string& text) {
  Instance out;
  const auto read = [&]() -> Result<void> {
    LATHE_TRY(const auto document, json::parse_object(text));
    LATHE_TRY(const auto wanted, json::get_bool(document, "wanted"));
    LATHE_TRY(const auto idle, json::get_int(document, "idle_shutdown_s"));
    LATHE_TRY(const auto acted, json::get_int(document, "acted_us"));
    LATHE_TRY(const auto* schedules, json::get_array(document, "schedules"));
    out.wanted = wanted.value_or(true);
    out.idle_shutdown_s = idle.value_or(0);
    out.acted = from_micros(acted.value_or(0));
    if (const auto* last = json::find(document, "last")) {
      LATHE_TRY(out.last, json::from_json<LastOperation>(*last));
    }
    Report ignored;
    if (schedules != nullptr) {
      LATHE_CHECK(read_schedules(Object{{"compute_start_stop", *schedules}}, out, ignored));
    }
    return {};
  };
  if (const auto done = read(); !done)
    log::error("a compute instance's record is damaged why={}", done.error().message);
  return out;
}

}  // namespace

Result<std::vector<Target>> all_targets(db::Connection& c) {
  return db::all(c,
                 "SELECT name, type, size, min_instances, max_instances, idle_s, description, tags, created_by, "
                 "created_us, low_priority, instance, max_instances_per_user, engine "
                 "FROM compute_target ORDER BY name",
                 [](const db::Row& row) {
                   Target target{
                       row.text(0),          row.text(1), row.text(2), row.integer(3), row.integer(4),
                       row.integer(5),       row.text(6), {},          row.text(8),    from_micros(row.integer(9)),
                       row.integer(10) != 0, {},          {}};
                   if (auto tags = json::parse(row.text(7)))
                     target.tags = json::from_json<std::map<std::string, std::string>>(*tags).value_or(target.tags);
                   if (target.is_instance()) target.instance = instance_of(row.text(11));
                   target.max_instances_per_user = row.integer(12);
                   if (auto engine = json::parse(row.text(13)); engine && engine->is_object())
                     if (auto partition = json::from_json<Partition>(*engine)) target.partition = std::move(*partition);
                   return target;
                 });
}

Result<void> insert_target(db::Connection& c, const Target& target) {
  LATHE_CHECK(db::run(c,
                      "INSERT INTO compute_target (name, type, size, min_instances, max_instances, idle_s, "
                      "description, tags, created_by, created_us, "
                      "low_priority, instance, max_instances_per_user, engine) "
                      "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
                      target.name, target.type, target.size, target.min_instances, target.max_instances, target.idle_s,
                      target.description, json::print(json::to_json(target.tags)), target.created_by,
                      micros(target.created), std::int64_t{target.low_priority}, instance_text(target),
                      target.max_instances_per_user, engine_text(target)));
  return {};
}

Result<void> update_target(db::Connection& c, const Target& target) {
  LATHE_CHECK(db::run(c,
                      "UPDATE compute_target SET size = $2, min_instances = $3, max_instances = $4, idle_s = $5, "
                      "description = $6, tags = $7, low_priority = $8, instance = $9, max_instances_per_user = $10, "
                      "engine = $11 WHERE name = $1",
                      target.name, target.size, target.min_instances, target.max_instances, target.idle_s,
                      target.description, json::print(json::to_json(target.tags)), std::int64_t{target.low_priority},
                      instance_text(target), target.max_instances_per_user, engine_text(target)));
  return {};
}

Result<void> delete_target(db::Connection& c, const std::string& name) {
  LATHE_CHECK(db::run(c, "DELETE FROM compute_target WHERE name = $1", name));
  return {};
}

}  // namespace lathe::compute
