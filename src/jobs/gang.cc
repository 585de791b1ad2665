#include "jobs/gang.h"

namespace lathe::jobs {
namespace {

using process::Observation;
using process::Reason;
using process::Status;

bool succeeded(const Observation& node) {
  return node.end && node.end->reason == Reason::exited && node.end->code == 0;
}

bool stopped(const Observation& node) {
  return node.end && node.end->reason == Reason::stopped;
}

bool failed(const Observation& node) {
  return node.status != Status::running && !succeeded(node) && !stopped(node);
}

/// Whether `a` is rather the cause than `b`; both failed.
bool before(const Observation& a, const Observation& b) {
  if (!a.end || !b.end) return !a.end && b.end;
  return a.end->decided < b.end->decided;
}

}  // namespace

Gang sum_up(const std::vector<Observation>& nodes, const std::vector<bool>& helpers) {
  Gang out;
  bool one_stopped = false;
  bool all_succeeded = true;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    out.running = out.running || nodes[i].status == Status::running;
    if (failed(nodes[i]) && (!out.cause || before(nodes[i], nodes[*out.cause]))) out.cause = i;
    if (helpers[i]) continue;
    one_stopped = one_stopped || stopped(nodes[i]);
    all_succeeded = all_succeeded && succeeded(nodes[i]);
  }
  out.decided = out.cause || one_stopped || all_succeeded;
  out.event = out.cause ? Event::broke : all_succeeded ? Event::succeeded : Event::stopped;
  return out;
}

}  // namespace lathe::jobs
