#include <algorithm>
#include <filesystem>

#include "serving/revision.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

bool is_same(const Spec& one, const Spec& other) {
  return json::print(json::to_json(one)) == json::print(json::to_json(other));
}

/// Errors: `not_found` — there is no such revision.
Result<Revision> choose(const std::vector<Revision>& all, std::optional<std::int64_t> number) {
  // Nobody wants what a guard has refused, nor what is there.
  const auto is_worth_it = [&](const Revision& each) {
    return !each.served.refused && json::print(json::to_json(each.served)) != json::print(json::to_json(all.front().served));
  };
  const auto before = std::find_if(all.begin(), all.end(), is_worth_it);
  if (!number && before == all.end())
    return fail(Code::not_found,
                "there is no revision to go back to: this is how the endpoint was served from the beginning");
  const auto found =
      number ? std::find_if(all.begin(), all.end(), [&](const auto& each) { return each.number == *number; })
             : before;
  if (found != all.end()) return *found;
  const auto kept = all.empty()
                        ? std::string("none is kept")
                        : "kept are " + std::to_string(all.back().number) + " to " + std::to_string(all.front().number);
  return fail(Code::not_found, "revision: there is no revision " + std::to_string(*number) + "; " + kept);
}

RevisionView view_of(const Revision& revision, bool current) {
  RevisionView out{revision.number,
                   revision.what,
                   current,
                   revision.served.traffic,
                   revision.served.mirror_traffic,
                   {},
                   revision.served.refused,
                   {revision.created_by, to_iso8601(from_micros(revision.created_us))}};
  for (const auto& [name, spec] : revision.served.deployments) out.deployments[name] = spec.model;
  return out;
}

}  // namespace

Result<void> finish_rollback(db::Connection& c, Endpoint endpoint, Time time) {
  const auto wanted = *endpoint.rollback;
  LATHE_TRY(const auto all, deployments(c, endpoint.name));
  for (const auto& each : all)
    if (std::count(wanted.deployments.begin(), wanted.deployments.end(), each.name) > 0 && each.state != "Succeeded" &&
        each.state != "Failed")
      return {};
  const auto is_there = [&](const std::string& name) {
    return std::any_of(all.begin(), all.end(),
                       [&](const auto& each) { return each.name == name && each.served && each.state == "Succeeded"; });
  };
  const bool good = std::all_of(wanted.deployments.begin(), wanted.deployments.end(), is_there);
  if (good) {
    endpoint.traffic = wanted.traffic;
    endpoint.mirror_traffic = wanted.mirror_traffic;
  }
  endpoint.rollback.reset();
  endpoint.updated_us = micros(time);
  LATHE_CHECK(update_endpoint(c, endpoint));
  const auto what = "rollback to revision " + std::to_string(wanted.revision);
  return keep_revision(c, endpoint.name, good ? what : what + ", of which a part failed", wanted.who, time);
}

Result<std::vector<RevisionView>> Serving::all_revisions(const std::string& name) {
  LATHE_TRY(const auto all, db_.read([&](db::Connection& c) { return revisions(c, name); }));
  std::vector<RevisionView> out;
  for (const auto& each : all) out.push_back(view_of(each, out.empty()));
  return out;
}

Result<void> Serving::check_revision(const Revision& revision) {
  const auto start = "revision " + std::to_string(revision.number);
  for (const auto& [name, spec] : revision.served.deployments) {
    const auto gone = [&](const std::string& what) {
      return fail(Code::conflict,
                  start + " cannot come back: " + what + " of its deployment \"" + name +
                      "\" is gone; go back to another one (`lathe online-endpoint revisions`), or deploy anew");
    };
    const auto version = models_.find(spec.model);
    if (!version && version.error().code != Code::not_found) return fail(version.error());
    if (!version || !std::filesystem::is_directory(spec.folder)) return gone("the model " + spec.model);
    if (!spec.python) continue;
    if (!spec.python->code.empty() && !std::filesystem::is_directory(spec.python->code)) return gone("the code");
    if (!spec.python->environment.empty() && !std::filesystem::is_directory(spec.python->environment))
      return gone("the environment");
  }
  for (const auto& [name, percent] : revision.served.traffic)
    if (percent > 0 && !revision.served.deployments.contains(name))
      return fail(Code::conflict, start + " gives traffic to the deployment \"" + name +
                                      "\", which answered nothing then: go back to another one");
  return {};
}

Result<EndpointView> Serving::roll_back(const std::string& name, std::optional<std::int64_t> number,
                                        const std::string& who, std::chrono::milliseconds wait) {
  LATHE_TRY(const auto all, db_.read([&](db::Connection& c) { return revisions(c, name); }));
  LATHE_TRY(const auto revision, choose(all, number));
  LATHE_CHECK(check_revision(revision));
  std::vector<std::string> changed;
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t next) -> Result<void> {
              changed.clear();
              LATHE_TRY(auto endpoint, find_endpoint(c, name));
              LATHE_TRY(const auto existing, deployments(c, name));
              for (const auto& [deployment, spec] : revision.served.deployments) {
                const auto found = std::find_if(existing.begin(), existing.end(),
                                                [&](const auto& each) { return each.name == deployment; });
                const bool there = found != existing.end();
                const bool answers = there && found->served && !found->previous && found->state != "Creating";
                if (answers && is_same(found->spec, spec)) continue;
                Deployment wanted = there ? *found : Deployment{};
                wanted.endpoint = name;
                wanted.name = deployment;
                wanted.spec = spec;
                LATHE_CHECK(begin_change(c, std::move(wanted), who, false, next));
                changed.push_back(deployment);
              }
              end_watch(endpoint, "revision " + std::to_string(revision.number) + " was brought back");
              endpoint.rollback =
                  Rollback{revision.number, revision.served.traffic, revision.served.mirror_traffic, changed, who};
              LATHE_CHECK(update_endpoint(c, endpoint));
              return finish_rollback(c, std::move(endpoint), now());
            }));
  LATHE_CHECK(await_rollback(name, Clock::now() + wait));
  LATHE_TRY(const auto reached, db_.read([](db::Connection& c) { return last_generation(c); }));
  await_generation(std::max(generation, reached));
  for (const auto& each : changed) {
    LATHE_TRY(const auto now_is, deployment(name, each));
    if (now_is.provisioning_state == "Failed")
      return fail(Code::conflict, "revision " + std::to_string(revision.number) +
                                      " is not back, and the traffic stays as it was: " + "deployment \"" + each +
                                      "\" failed: " + now_is.error.value_or("it says no reason"));
  }
  return endpoint(name);
}

Result<void> Serving::await_rollback(const std::string& name, Clock::time_point deadline) {
  for (;;) {
    const auto seen = plane_.reports();  // before the read, so that no report is missed
    LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return find_endpoint(c, name); }));
    if (!found.rollback || Clock::now() >= deadline) return {};
    plane_.wait_past(seen, deadline);
  }
}

}  // namespace lathe::serving
