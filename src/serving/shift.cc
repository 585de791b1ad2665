#include <algorithm>

#include "base/log.h"
#include "http/client.h"
#include "serving/revision.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

constexpr std::chrono::seconds kDefaultWatch = std::chrono::minutes{10};
constexpr std::chrono::seconds kLongestWatch = std::chrono::hours{7 * 24};
/// A data plane that tells nothing for so long after the end of a watch is no reason to trust the deployment.
constexpr std::chrono::seconds kSilence{60};
constexpr std::chrono::seconds kAnswer{5};

std::int64_t share_of(const Traffic& traffic, const std::string& name) {
  const auto found = traffic.find(name);
  return found == traffic.end() ? 0 : found->second;
}

/// The one that gets more than before. Errors: `invalid` — there is none, or there are several.
Result<std::string> find_gainer(const Traffic& before, const Traffic& after) {
  std::vector<std::string> gainers;
  for (const auto& [name, percent] : after)
    if (percent > share_of(before, name)) gainers.push_back(name);
  if (gainers.size() == 1) return gainers.front();
  return fail(Code::invalid,
              "traffic: a guard watches the one deployment that gets more requests than before, and here " +
                  (gainers.empty() ? std::string("none does") : std::to_string(gainers.size()) + " do"));
}

struct Verdict {
  std::string state;
  std::string why;
};

/// What becomes of a shift whose deployment's requests since then are `sample`; nullopt: not yet known.
std::optional<Verdict> judge(const Shift& shift, const Sample& sample, Time time) {
  const bool over = micros(time) >= shift.ends_us;
  if (sample.requests < kLeastRequests) {
    if (!over) return std::nullopt;
    return Verdict{"rolled back", "only " + std::to_string(sample.requests) +
                                      " requests came in the time of the watch; at least " +
                                      std::to_string(kLeastRequests) + " are needed to judge"};
  }
  const auto guard = parse_guard(shift.guard);
  if (!guard) return Verdict{"rolled back", guard.error().message};
  if (auto why = find_violation(*guard, sample)) return Verdict{"rolled back", std::move(*why)};
  if (!over) return std::nullopt;
  return Verdict{"kept", shift.guard + " held over " + std::to_string(sample.requests) + " requests"};
}

}  // namespace

void end_watch(Endpoint& endpoint, const std::string& why) {
  if (!endpoint.shift || endpoint.shift->state != "watching") return;
  endpoint.shift->state = "ended";
  endpoint.shift->why = why;
}

Result<GuardedChange> GuardedChange::read(const json::Object& changes) {
  GuardedChange out;
  out.changes = changes;
  LATHE_TRY(const auto guard, json::get_string(changes, "guard"));
  const auto* span = json::find(changes, "for");
  out.changes.erase("guard");
  out.changes.erase("for");
  if (!guard) {
    if (span != nullptr) return fail(Code::invalid, "for: is how long a guard watches, and there is no guard");
    return out;
  }
  if (json::find(changes, "traffic") == nullptr)
    return fail(Code::invalid, "guard: it watches a change of the traffic: give traffic, too");
  LATHE_CHECK(parse_guard(*guard));
  out.guard = *guard;
  out.span = kDefaultWatch;
  if (span == nullptr) return out;
  const auto text = span->is_string() ? std::string(json::view(span->get_string())) : json::print(*span);
  const auto length = parse_duration(text);
  if (!length) return fail_in("for", length.error());
  if (*length < std::chrono::seconds{1} || *length > kLongestWatch)
    return fail(Code::invalid, "for: must be from 1s to 7d, not " + text);
  out.span = *length;
  return out;
}

Result<std::vector<Counted>> Serving::statistics(const std::string& endpoint) {
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return find_endpoint(c, endpoint); }));
  LATHE_TRY(auto options, plane_.reported().client_options());
  LATHE_TRY(options.token, bearer_of(found));
  options.timeout = kAnswer;
  http::Client client(std::move(options));
  LATHE_TRY(const auto answer, client.request("GET", "/endpoints/" + endpoint + "/statistics"));
  if (answer.status != 200) return fail(Code::unavailable, "the data plane tells no statistics: " + answer.body);
  auto out = read_statistics(answer.body);
  if (!out) return fail(Code::internal, "the data plane's statistics cannot be read: " + out.error().message);
  if (tell_counts_)
    for (auto& each : tell_counts_(endpoint)) out->push_back(std::move(each));
  return out;
}

Result<EndpointStatistics> Serving::statistics_of(const std::string& name) {
  LATHE_TRY(const auto told, statistics(name));
  EndpointStatistics out{name, {}};
  for (const auto& each : told) {
    const bool known = std::any_of(out.deployments.begin(), out.deployments.end(),
                                   [&](const auto& other) { return other.name == each.deployment; });
    if (known) continue;  // the server's machine is the first
    const auto sample = sum_of(told, each.deployment);
    DeploymentStatistics one;
    one.name = each.deployment;
    one.version = each.version;
    one.instances = each.instances;
    one.requests = sample.requests;
    one.errors = sample.errors;
    one.mean_us = sample.succeeded == 0 ? 0 : sample.total_us / sample.succeeded;
    one.p50_us = quantile_us(sample, 0.5);
    one.p90_us = quantile_us(sample, 0.9);
    one.p95_us = quantile_us(sample, 0.95);
    one.p99_us = quantile_us(sample, 0.99);
    out.deployments.push_back(std::move(one));
  }
  return out;
}

bool Watched::look(const Sample& now) {
  const auto last = seen.value_or(baseline);
  // A deployment that is still loading has no counts yet.
  if (now.began_us == 0 || now == last) return false;
  if (now.began_us != last.began_us) {
    // Another data plane counts from 0: what the one before has counted stays.
    carried = sample();
    baseline = Sample{};
    baseline.began_us = now.began_us;
  }
  seen = now;
  return true;
}

Sample Shift::total() const {
  auto out = sample();
  for (const auto& [name, node] : nodes) out = together(out, node.sample());
  return out;
}

Result<void> begin_watch(const GuardedChange& change, const std::vector<Counted>& statistics, const Endpoint& before,
                         Endpoint& endpoint, const std::string& who) {
  const bool got_any =
      std::any_of(before.traffic.begin(), before.traffic.end(), [](const auto& each) { return each.second > 0; });
  if (!got_any)
    return fail(Code::invalid, "guard: no deployment got traffic before, so there is nothing to go back to");
  Shift shift;
  LATHE_TRY(shift.deployment, find_gainer(before.traffic, endpoint.traffic));
  for (const auto& each : statistics)
    if (each.deployment == shift.deployment)
      (each.machine == kServer ? shift.baseline : shift.nodes[each.machine].baseline) = each.sample;
  const auto time = now();
  shift.state = "watching";
  shift.guard = *change.guard;
  shift.before = before.traffic;
  shift.started_us = micros(time);
  shift.ends_us = micros(time + change.span);
  shift.who = who;
  endpoint.shift = std::move(shift);
  return {};
}

Result<Sample> Serving::look_at(const Endpoint& endpoint) {
  auto shift = *endpoint.shift;
  LATHE_TRY(const auto told, statistics(endpoint.name));
  bool news = false;
  for (const auto& each : told) {
    if (each.deployment != shift.deployment) continue;
    if (each.machine == kServer) {
      news = shift.look(each.sample) || news;
      continue;
    }
    const auto [found, first] = shift.nodes.try_emplace(each.machine);
    // Of a node that began before and is heard of only now, nobody knows what had come by then.
    if (first && each.since_us < shift.started_us) found->second.baseline = each.sample;
    news = found->second.look(each.sample) || first || news;
  }
  if (!news) return shift.total();
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(auto now_is, find_endpoint(c, endpoint.name));
    const bool same = now_is.shift && now_is.shift->state == "watching" && now_is.shift->started_us == shift.started_us;
    if (!same) return {};
    now_is.shift = shift;
    return update_endpoint(c, now_is);
  }));
  return shift.total();
}

bool Serving::watch_shifts() {
  const auto all = db_.read([](db::Connection& c) { return endpoints(c); });
  if (!all) return true;
  bool again = false;
  for (const auto& each : *all) {
    if (!each.shift || each.shift->state != "watching") continue;
    again = true;
    const auto time = now();
    const auto sample = look_at(each);
    std::optional<Verdict> verdict;
    if (sample)
      verdict = judge(*each.shift, *sample, time);
    else if (time >= from_micros(each.shift->ends_us) + kSilence)
      verdict = Verdict{"rolled back", sample.error().message};
    if (!verdict) continue;
    if (const auto done = end_shift(each, verdict->state, verdict->why); !done)
      log::error("a shift could not be ended endpoint={} error=\"{}\"", each.name, done.error().message);
  }
  return again;
}

Result<void> Serving::end_shift(const Endpoint& seen, const std::string& state, const std::string& why) {
  LATHE_CHECK(commit([&](db::Connection& c, std::int64_t) -> Result<void> {
    LATHE_TRY(auto endpoint, find_endpoint(c, seen.name));
    const bool same =
        endpoint.shift && endpoint.shift->state == "watching" && endpoint.shift->started_us == seen.shift->started_us;
    if (!same) return {};
    endpoint.shift->state = state;
    endpoint.shift->why = why;
    endpoint.updated_us = micros(now());
    const bool back = state == "rolled back";
    if (back) {
      LATHE_CHECK(mark_refused(c, endpoint, why));
      endpoint.traffic = endpoint.shift->before;
    }
    LATHE_CHECK(update_endpoint(c, endpoint));
    if (!back) return {};
    const auto what = "traffic: " + print_traffic(endpoint.traffic) + " again, since " + why;
    return keep_revision(c, endpoint.name, what, endpoint.shift->who, from_micros(endpoint.updated_us));
  }));
  log::info("a guarded shift is over endpoint={} deployment={} state=\"{}\" why=\"{}\"", seen.name,
            seen.shift->deployment, state, why);
  return {};
}

}  // namespace lathe::serving
