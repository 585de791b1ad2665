#include "compute/targets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
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
  if (!value) return fail(Code::invalid, fmt::format("{}: must be a whole number, not {}", key, json::print(*json::find(document, key))));
  if (!*value) return {};
  if (**value < least || **value > 1'000'000) return fail(Code::invalid, fmt::format("{}: must be from {} to 1000000, not {}", key, least, **value));
  into = **value;
  return {};
}

/// Azure limits names of compute to letters, digits and dashes.
Result<void> check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 32 && std::isalpha(static_cast<unsigned char>(name[0])) != 0 && name.back() != '-' &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; });
  if (!good) return fail(Code::invalid, fmt::format("name: must be 1 to 32 letters, digits and dashes, beginning with a letter, not \"{}\"", name));
  if (name == "local" || name == "serverless")
    return fail(Code::invalid, fmt::format("name: \"{}\" is there without being created: choose another name", name));
  return {};
}

void note_unused(const Object& document, Report& report) {
  static const std::map<std::string_view, std::string_view> kUnused = {
      {"location", "nodes are slices of this machine"},
      {"network_settings", "nodes are slices of this machine"},
      {"ssh_settings", "nodes are slices of this machine: log in to it as you always do"},
      {"ssh_public_access_enabled", "nodes are slices of this machine"},
      {"identity", "jobs act as the user who submitted them"},
      {"enable_node_public_ip", "nodes are slices of this machine"},
  };
  for (const auto& member : document) {
    const std::string_view key(member.key().data(), member.key().size());
    if (const auto found = kUnused.find(key); found != kUnused.end())
      report.push_back({std::string(key), "ignored", std::string(found->second)});
  }
}

Result<void> check_fields(const Object& document) {
  static const std::vector<std::string> kKnown = {
      "$schema", "name", "type", "size", "min_instances", "max_instances", "idle_time_before_scale_down", "tier", "description", "tags",
      "location", "network_settings", "ssh_settings", "ssh_public_access_enabled", "identity", "enable_node_public_ip"};
  for (const auto& member : document) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end())
      return fail(Code::invalid, fmt::format("{}: {}", key, unknown_name("field", key, kKnown)));
  }
  return {};
}

}  // namespace

Result<Target> read_target(const Object& document, const Target& base, const Resources& machine, Report& report) {
  LATHE_CHECK(check_fields(document));
  Target target = base;
  LATHE_CHECK(take_string(document, "type", target.type));
  if (to_lower(target.type) == "computeinstance")
    return fail(Code::invalid, "type: compute instances are not there yet; a job runs on an amlcompute cluster or on local");
  if (to_lower(target.type) != "amlcompute") return fail(Code::invalid, fmt::format("type: must be amlcompute, not \"{}\"", target.type));
  target.type = "amlcompute";
  LATHE_CHECK(take_string(document, "name", target.name));
  LATHE_CHECK(check_name(target.name));
  LATHE_CHECK(take_string(document, "description", target.description));

  LATHE_CHECK(take_string(document, "size", target.size));
  if (target.size.empty()) {
    target.size = "all";
    report.push_back({"size", "substituted", "none was given: a node is the whole machine (" + machine.words() + ")"});
  }
  LATHE_TRY(const auto size, find_size(target.size, machine));
  target.size = size.name;
  if (size.mapped())
    report.push_back({"size", "substituted", fmt::format("{} is {}; a node gets what is here: {}", size.name, size.asked.words(), size.given.words())});

  LATHE_CHECK(take_count(document, "min_instances", 0, target.min_instances));
  LATHE_CHECK(take_count(document, "max_instances", 1, target.max_instances));
  if (target.min_instances > target.max_instances)
    return fail(Code::invalid, fmt::format("min_instances: must not be more than max_instances ({}), not {}", target.max_instances, target.min_instances));
  LATHE_CHECK(take_count(document, "idle_time_before_scale_down", 0, target.idle_s));

  if (const auto* tags = json::find(document, "tags")) {
    LATHE_TRY(target.tags, json::from_json<decltype(target.tags)>(*tags, "tags"));
  }
  std::string tier;
  LATHE_CHECK(take_string(document, "tier", tier));
  if (to_lower(tier) == "low_priority")
    report.push_back({"tier", "ignored", "one machine has no cheaper nodes: all are dedicated"});
  else if (!tier.empty() && to_lower(tier) != "dedicated")
    return fail(Code::invalid, fmt::format("tier: must be dedicated or low_priority, not \"{}\"", tier));
  note_unused(document, report);
  return target;
}

Result<Rules> rules_of(const Target& target, const Resources& machine) {
  LATHE_TRY(const auto size, find_size(target.size, machine));
  return Rules{target.name, false, size.given, target.min_instances, target.max_instances, 0, std::chrono::seconds{target.idle_s}};
}

Result<std::vector<Target>> all_targets(db::Connection& c) {
  return db::all(c,
                 "SELECT name, type, size, min_instances, max_instances, idle_s, description, tags, created_by, created_us "
                 "FROM compute_target ORDER BY name",
                 [](const db::Row& row) {
                   Target target{row.text(0), row.text(1), row.text(2), row.integer(3), row.integer(4), row.integer(5), row.text(6), {},
                                 row.text(8), from_micros(row.integer(9))};
                   if (auto tags = json::parse(row.text(7)))
                     target.tags = json::from_json<std::map<std::string, std::string>>(*tags).value_or(target.tags);
                   return target;
                 });
}

Result<void> insert_target(db::Connection& c, const Target& target) {
  LATHE_CHECK(db::run(c,
                      "INSERT INTO compute_target (name, type, size, min_instances, max_instances, idle_s, description, tags, created_by, created_us) "
                      "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                      target.name, target.type, target.size, target.min_instances, target.max_instances, target.idle_s, target.description,
                      json::print(json::to_json(target.tags)), target.created_by, micros(target.created)));
  return {};
}

Result<void> update_target(db::Connection& c, const Target& target) {
  LATHE_CHECK(db::run(c,
                      "UPDATE compute_target SET size = $2, min_instances = $3, max_instances = $4, idle_s = $5, description = $6, tags = $7 "
                      "WHERE name = $1",
                      target.name, target.size, target.min_instances, target.max_instances, target.idle_s, target.description,
                      json::print(json::to_json(target.tags))));
  return {};
}

Result<void> delete_target(db::Connection& c, const std::string& name) {
  LATHE_CHECK(db::run(c, "DELETE FROM compute_target WHERE name = $1", name));
  return {};
}

}  // namespace lathe::compute
