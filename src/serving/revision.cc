#include "serving/revision.h"

namespace lathe::serving {
namespace {

Revision read_revision(const db::Row& row) {
  Revision out;
  out.number = row.integer(0);
  out.what = row.text(1);
  out.created_by = row.text(2);
  out.created_us = row.integer(3);
  if (auto value = json::parse(row.text_view(4)))
    if (auto read = json::from_json<Served>(*value)) out.served = std::move(*read);
  return out;
}

Result<Served> served_now(db::Connection& c, const std::string& endpoint) {
  LATHE_TRY(const auto found, find_endpoint(c, endpoint));
  LATHE_TRY(const auto all, deployments(c, endpoint));
  Served out{found.traffic, found.mirror_traffic, {}};
  for (const auto& each : all) {
    if (each.previous)
      out.deployments[each.name] = *each.previous;
    else if (each.served && each.state != "Creating")
      out.deployments[each.name] = each.spec;
  }
  std::erase_if(out.traffic, [](const auto& share) { return share.second == 0; });
  return out;
}

}  // namespace

Result<std::vector<Revision>> revisions(db::Connection& c, const std::string& endpoint) {
  static constexpr auto kSql = R"sql(
    SELECT number, what, created_by, created_us, served FROM endpoint_revision WHERE endpoint = $1 ORDER BY number DESC)sql";
  LATHE_CHECK(find_endpoint(c, endpoint));
  return db::all(c, kSql, read_revision, endpoint);
}

Result<void> keep_revision(db::Connection& c, const std::string& endpoint, const std::string& what,
                           const std::string& who, Time time) {
  LATHE_TRY(const auto served, served_now(c, endpoint));
  LATHE_TRY(const auto before, revisions(c, endpoint));
  const auto text = json::print(json::to_json(served));
  const bool same =
      before.empty() ? served.deployments.empty() : json::print(json::to_json(before.front().served)) == text;
  if (same) return {};
  const auto number = before.empty() ? 1 : before.front().number + 1;
  static constexpr auto kInsert = R"sql(
    INSERT INTO endpoint_revision (endpoint, number, what, created_by, created_us, served)
    VALUES ($1, $2, $3, $4, $5, $6))sql";
  LATHE_CHECK(db::run(c, kInsert, endpoint, number, what, who, micros(time), text));
  static constexpr auto kForget = "DELETE FROM endpoint_revision WHERE endpoint = $1 AND number <= $2";
  LATHE_CHECK(db::run(c, kForget, endpoint, number - kKeptRevisions));
  return {};
}

Result<void> mark_refused(db::Connection& c, const Endpoint& endpoint, const std::string& why) {
  LATHE_TRY(auto all, revisions(c, endpoint.name));
  LATHE_TRY(const auto served, served_now(c, endpoint.name));
  if (all.empty() || all.front().served.traffic != served.traffic) return {};
  all.front().served.refused = why;
  static constexpr auto kSql = "UPDATE endpoint_revision SET served = $3 WHERE endpoint = $1 AND number = $2";
  LATHE_CHECK(db::run(c, kSql, endpoint.name, all.front().number, json::print(json::to_json(all.front().served))));
  return {};
}

}  // namespace lathe::serving
