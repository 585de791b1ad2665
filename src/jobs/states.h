#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The life of a job, as a table of edges. Names are Azure's.
namespace lathe::jobs {

enum class State { queued, preparing, running, cancel_requested, completed, failed, canceled };

enum class Event {
  placed,       ///< a node is free for it
  launched,     ///< its process runs
  stop_asked,   ///< somebody cancelled it
  succeeded,    ///< the process exited with 0
  broke,        ///< it exited with another status, was killed, ran out of time, could not start, or its node was lost
  stopped,      ///< it ended because it was cancelled
  put_back      ///< it waits again: the server restarted before its process ran, it lost its nodes, or it gave way
};

/// "Queued", "Preparing", "Running", "CancelRequested", "Completed", "Failed", "Canceled".
std::string_view name_of(State state);
/// Errors: nullopt for a name that is none of these.
std::optional<State> parse_state(std::string_view name);
std::vector<std::string> state_names();

/// Where `event` leads from `state`; nullopt: the table has no such edge, and the event is refused.
std::optional<State> next(State state, Event event);

/// Completed, Failed or Canceled: nothing follows.
bool is_final(State state);

}  // namespace lathe::jobs
