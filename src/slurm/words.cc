#include "slurm/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace lathe::slurm {
namespace {

struct Pair {
  std::string_view slurm;
  std::string_view ours;
};

constexpr std::array kReasons = {
    Pair{"Resources", "the nodes it needs are busy"},
    Pair{"Priority", "jobs with a higher priority are ahead of it"},
    Pair{"ReqNodeNotAvail", "nodes that it needs are down, drained or reserved"},
    Pair{"NodeDown", "a node that it needs is down"},
    Pair{"PartitionDown", "the partition is down"},
    Pair{"PartitionInactive", "the partition takes no jobs now"},
    Pair{"PartitionNodeLimit", "it asks for more nodes than the partition allows, so that it can never start"},
    Pair{"PartitionTimeLimit", "its time limit is longer than the partition allows, so that it can never start"},
    Pair{"PartitionConfig", "the partition cannot give what it asks for"},
    Pair{"BadConstraints", "no nodes of the partition are as it asks, so that it can never start"},
    Pair{"JobHeldUser", "it is held; `scontrol release` lets it go"},
    Pair{"JobHeldAdmin", "an administrator of the cluster holds it"},
    Pair{"BeginTime", "its earliest start has not come yet"},
    Pair{"Dependency", "another job has to end first"},
    Pair{"Licenses", "licences that it needs are in use"},
    Pair{"Reservation", "its reservation has not begun"},
    Pair{"Prolog", "its nodes are being prepared"},
    Pair{"Cleaning", "its nodes are being cleaned up"},
    Pair{"InvalidAccount", "the cluster does not know its account, so that it can never start"},
    Pair{"InvalidQOS", "the cluster does not know its qos, so that it can never start"},
    Pair{"JobArrayTaskLimit", "others of its array run first"},
    Pair{"NonZeroExitCode", "its batch script failed"},
    Pair{"None", "the cluster's scheduler has not looked at it yet"},
};

constexpr std::array kEnds = {
    Pair{"COMPLETED", "its batch script ended"},
    Pair{"CANCELLED", "it was cancelled in Slurm"},
    Pair{"FAILED", "its batch script failed"},
    Pair{"TIMEOUT", "it ran into Slurm's time limit"},
    Pair{"DEADLINE", "it ran into its deadline"},
    Pair{"NODE_FAIL", "a node of it failed"},
    Pair{"BOOT_FAIL", "a node of it did not start"},
    Pair{"PREEMPTED", "a job with a higher priority took its nodes"},
    Pair{"OUT_OF_MEMORY", "it used more memory than it had asked for"},
    Pair{"REVOKED", "another cluster took it"},
    Pair{"", "Slurm does not know it any more"},
};

constexpr std::array<std::string_view, 5> kWaiting = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT",
                                                      "RESV_DEL_HOLD"};

}  // namespace

std::string reason_words(std::string_view reason) {
  // "ReqNodeNotAvail, UnavailableNodes:n1" and the like carry details.
  const auto word = reason.substr(0, reason.find_first_of(", "));
  for (const auto& [slurm, ours] : kReasons)
    if (slurm == word) return std::string(ours);
  // QOSMaxJobsPerUserLimit, AssocGrpCpuLimit, MaxCpuPerAccount and some fifty more of that kind.
  if (word.starts_with("QOS")) return fmt::format("a limit of its qos is reached ({})", word);
  if (word.starts_with("Assoc") || word.find("Limit") != std::string_view::npos || word.starts_with("Max"))
    return fmt::format("a limit of its account is reached ({})", word);
  return fmt::format("Slurm says \"{}\"", printable(reason));
}

std::string end_words(std::string_view state) {
  state = state.substr(0, state.find(' '));
  for (const auto& [slurm, ours] : kEnds)
    if (slurm == state) return std::string(ours);
  return fmt::format("Slurm says {}", printable(state));
}

std::string_view node_state(std::string_view state) {
  // sinfo adds a sign: * does not answer, ~ off, # and @ starting, % and ! going off, $ and + maintenance, - planned.
  const char sign = state.empty() ? '\0' : state.back();
  if (sign == '*') return "unusable";
  if (sign == '~') return "off";
  if (sign == '#' || sign == '@') return "preparing";
  if (sign == '%' || sign == '!') return "leaving";
  const auto is = [&](std::string_view begin) { return state.starts_with(begin); };
  if (is("idle") || is("planned")) return "idle";
  if (is("alloc") || is("mix")) return "running";
  if (is("comp")) return "leaving";
  if (is("power") || is("boot") || is("configur") || is("reboot")) return "preparing";
  return "unusable";
}

bool is_waiting(std::string_view job_state) {
  return std::find(kWaiting.begin(), kWaiting.end(), job_state) != kWaiting.end();
}

bool is_over(std::string_view job_state) {
  return std::any_of(kEnds.begin(), kEnds.end(),
                     [&](const Pair& pair) { return !pair.slurm.empty() && pair.slurm == job_state; });
}

}  // namespace lathe::slurm
