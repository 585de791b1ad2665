#pragma once

#include <string>
#include <string_view>

/// Slurm's words in ours.
namespace lathe::slurm {

/// A sentence's part for squeue's reason: "Resources" -> "the partition's nodes are busy".
std::string reason_words(std::string_view reason);

/// How a job ended: "NODE_FAIL" -> "a node of it failed".
std::string end_words(std::string_view state);

/// Azure's name for sinfo's state of a node ("idle~", "mixed", "down*"): idle, running, preparing, leaving, unusable;
/// or "off": without power, to be started when it is needed.
std::string_view node_state(std::string_view state);

bool is_waiting(std::string_view job_state);
/// Whether it has ended, for squeue's state.
bool is_over(std::string_view job_state);

}  // namespace lathe::slurm
