#include <fmt/format.h>

#include <charconv>

#include "cli/handlers.h"
#include "cli/session.h"
#include "compute/policy.h"
#include "compute/replay.h"
#include "json/fields.h"

/// `lathe scheduler`: the scheduler's own core, played here; no server takes part.
namespace lathe::cli {

struct PlayedAnswer {
  std::string what;  ///< "recorded", "replayed", "simulated"
  std::string policy;
  std::int64_t jobs = 0;
  std::int64_t left_waiting = 0;
  double mean_wait_s = 0;
  double median_wait_s = 0;
  double p95_wait_s = 0;
  double longest_wait_s = 0;
  double utilisation = 0;
  double span_s = 0;
  std::int64_t preemptions = 0;
};
struct ReplayAnswer {
  std::int64_t events = 0;
  std::int64_t differences = 0;
  std::vector<PlayedAnswer> value;
};
struct SimulateAnswer {
  std::int64_t events = 0;
  double us_per_event = 0;
  double us_per_arrival = 0;
  double us_per_end = 0;
  double longest_us = 0;
  double memory_mib = 0;
  PlayedAnswer figures;
};

}  // namespace lathe::cli

namespace lathe::json {

template <>
struct Fields<cli::PlayedAnswer> {
  static constexpr std::string_view name = "Played";
  using T = cli::PlayedAnswer;
  static constexpr auto list =
      std::tuple{field("what", &T::what),
                 field("policy", &T::policy),
                 field("jobs", &T::jobs, "that started"),
                 field("left_waiting", &T::left_waiting, "that never did"),
                 field("mean_wait_s", &T::mean_wait_s),
                 field("median_wait_s", &T::median_wait_s),
                 field("p95_wait_s", &T::p95_wait_s),
                 field("longest_wait_s", &T::longest_wait_s),
                 field("utilisation", &T::utilisation),
                 field("span_s", &T::span_s),
                 field("preemptions", &T::preemptions)};
};
template <>
struct Fields<cli::ReplayAnswer> {
  static constexpr std::string_view name = "Replay";
  using T = cli::ReplayAnswer;
  static constexpr auto list =
      std::tuple{field("events", &T::events), field("differences", &T::differences), field("value", &T::value)};
};
template <>
struct Fields<cli::SimulateAnswer> {
  static constexpr std::string_view name = "Simulation";
  using T = cli::SimulateAnswer;
  static constexpr auto list = std::tuple{field("events", &T::events),
                                          field("us_per_event", &T::us_per_event),
                                          field("us_per_arrival", &T::us_per_arrival),
                                          field("us_per_end", &T::us_per_end),
                                          field("longest_us", &T::longest_us),
                                          field("memory_mib", &T::memory_mib),
                                          field("figures", &T::figures)};
};

}  // namespace lathe::json

namespace lathe::cli {
namespace {

Result<std::int64_t> count(const Session& session, std::string_view flag, std::int64_t fallback) {
  const auto text = session.arguments.get(flag);
  if (!text) return fallback;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || value < 1 || value > 100'000'000)
    return fail(Code::invalid, fmt::format("{}: must be a whole number from 1 on, not \"{}\"", flag, *text));
  return value;
}

PlayedAnswer shown(std::string what, std::string policy, const compute::Figures& figures) {
  return {.what = std::move(what),
          .policy = std::move(policy),
          .jobs = static_cast<std::int64_t>(figures.jobs),
          .left_waiting = static_cast<std::int64_t>(figures.left_waiting),
          .mean_wait_s = figures.mean_wait_s,
          .median_wait_s = figures.median_wait_s,
          .p95_wait_s = figures.p95_wait_s,
          .longest_wait_s = figures.longest_wait_s,
          .utilisation = figures.utilisation,
          .span_s = figures.span_s,
          .preemptions = static_cast<std::int64_t>(figures.preemptions)};
}

std::string name_of(const compute::Policy& policy) {
  if (policy.fair) return "fair";
  if (policy.tiers) return "priority";
  return policy.backfill ? "backfill" : "fifo";
}

}  // namespace

Result<int> run_scheduler_replay(Session& session) {
  LATHE_TRY(const auto file, session.need("--recording"));
  LATHE_TRY(const auto recording, compute::read_recording(file));
  auto policy = recording.start.policy;
  if (const auto name = session.arguments.get("--policy")) {
    LATHE_TRY(policy, compute::policy_named(*name));
  }
  std::optional<std::int64_t> nodes;
  if (session.arguments.has("--nodes")) {
    LATHE_TRY(nodes, count(session, "--nodes", 1));
  }
  ReplayAnswer out;
  out.events = static_cast<std::int64_t>(recording.events.size());
  out.differences = static_cast<std::int64_t>(compute::differences(recording));
  out.value.push_back(shown("recorded", name_of(recording.start.policy), compute::as_recorded(recording)));
  out.value.push_back(shown("replayed", name_of(policy), compute::as_replayed(recording, policy, nodes)));
  return session.print(json::to_json(out));
}

Result<int> run_scheduler_simulate(Session& session) {
  const auto name = session.arguments.get_or("--policy", "fair");
  LATHE_TRY(const auto policy, compute::policy_named(name));
  compute::Load load;
  LATHE_TRY(load.nodes, count(session, "--nodes", load.nodes));
  LATHE_TRY(load.jobs, count(session, "--jobs", load.jobs));
  LATHE_TRY(load.users, count(session, "--users", load.users));
  LATHE_TRY(const auto seed, count(session, "--seed", 1));
  load.seed = static_cast<std::uint64_t>(seed);
  load.at_once = session.arguments.has("--at-once");
  const auto done = compute::simulate(load, policy);
  SimulateAnswer out;
  out.events = static_cast<std::int64_t>(done.events);
  out.us_per_event = done.mean_us;
  out.us_per_arrival = done.queue_us;
  out.us_per_end = done.end_us;
  out.longest_us = done.longest_us;
  out.memory_mib = static_cast<double>(done.memory_bytes) / (1 << 20);
  out.figures = shown("simulated", name, done.figures);
  return session.print(json::to_json(out));
}

}  // namespace lathe::cli
