#include "jobs/states.h"

#include <array>

namespace lathe::jobs {
namespace {

using enum State;
using enum Event;

struct Edge {
  State from;
  Event event;
  State to;
};

// The whole lifecycle. An edge that is not here is refused.
constexpr std::array kEdges = {
    Edge{queued, placed, preparing},           Edge{queued, stop_asked, canceled},
    Edge{queued, broke, failed},               // what it needs is gone
    Edge{preparing, launched, running},        Edge{preparing, stop_asked, cancel_requested},
    Edge{preparing, broke, failed},            Edge{preparing, put_back, queued},
    Edge{running, put_back, queued},           Edge{queued, put_back, queued},
    Edge{preparing, succeeded, completed},     // found ended after a restart
    Edge{queued, launched, running},           // found running after a restart
    Edge{queued, succeeded, completed},        Edge{running, succeeded, completed},
    Edge{running, broke, failed},              Edge{running, stop_asked, cancel_requested},
    Edge{running, stopped, canceled},          // stopped by `lathe stop --all`
    Edge{queued, stopped, canceled},           Edge{preparing, stopped, canceled},
    Edge{cancel_requested, stopped, canceled}, Edge{cancel_requested, broke, canceled},
    Edge{cancel_requested, succeeded, completed},
    Edge{cancel_requested, put_back, canceled},
};

struct Named {
  State state;
  std::string_view name;
};
constexpr std::array kNames = {Named{queued, "Queued"},
                               Named{preparing, "Preparing"},
                               Named{running, "Running"},
                               Named{cancel_requested, "CancelRequested"},
                               Named{completed, "Completed"},
                               Named{failed, "Failed"},
                               Named{canceled, "Canceled"}};

}  // namespace

std::string_view name_of(State state) {
  for (const auto& named : kNames)
    if (named.state == state) return named.name;
  return "Unknown";
}

std::optional<State> parse_state(std::string_view name) {
  for (const auto& named : kNames)
    if (named.name == name) return named.state;
  return std::nullopt;
}

std::vector<std::string> state_names() {
  std::vector<std::string> out;
  for (const auto& named : kNames) out.emplace_back(named.name);
  return out;
}

std::optional<State> next(State state, Event event) {
  for (const auto& edge : kEdges)
    if (edge.from == state && edge.event == event) return edge.to;
  return std::nullopt;
}

bool is_final(State state) { return state == completed || state == failed || state == canceled; }

}  // namespace lathe::jobs
