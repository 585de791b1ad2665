#include "jobs/gang.h"

#include <gtest/gtest.h>

namespace lathe::jobs {
namespace {

using process::Observation;
using process::Reason;
using process::Status;

Observation running() {
  return {Status::running, 1, 2, std::nullopt};
}
Observation lost() {
  return {Status::lost, 0, 2, std::nullopt};
}
Observation ended(Reason reason, std::int64_t at_us, int code = 0) {
  Observation out{Status::exited, 0, 2, process::End{}};
  out.end->reason = reason;
  out.end->decided = from_micros(at_us);
  if (reason == Reason::exited) out.end->code = code;
  return out;
}

Gang of(const std::vector<Observation>& nodes) {
  return sum_up(nodes, std::vector<bool>(nodes.size(), false));
}

TEST(Gang, RunsOnWhileNothingFailed) {
  const auto gang = of({ended(Reason::exited, 1), running()});
  EXPECT_TRUE(gang.running);
  EXPECT_FALSE(gang.decided);
}

TEST(Gang, OneFailureDecidesAndTheOthersAreToEnd) {
  const auto gang = of({running(), ended(Reason::exited, 1, 3), running()});
  EXPECT_TRUE(gang.running && gang.decided);
  EXPECT_EQ(gang.cause, 1U);
}

TEST(Gang, TheFirstFailureIsTheCause) {
  const auto gang = of({ended(Reason::exited, 30, 1), ended(Reason::signaled, 20), ended(Reason::stopped, 10)});
  EXPECT_FALSE(gang.running);
  EXPECT_EQ(gang.event, Event::broke);
  EXPECT_EQ(gang.cause, 1U);
}

TEST(Gang, ALostNodeIsTheCauseWhateverFailedWithIt) {
  EXPECT_EQ(of({ended(Reason::exited, 1, 1), lost()}).cause, 1U);
  EXPECT_EQ(of({lost(), ended(Reason::exited, 1, 1)}).cause, 0U);
}

TEST(Gang, AllSuccessesAreOneAndStopsAreAStop) {
  EXPECT_EQ(of({ended(Reason::exited, 1), ended(Reason::exited, 2)}).event, Event::succeeded);
  EXPECT_EQ(of({ended(Reason::exited, 1), ended(Reason::stopped, 2)}).event, Event::stopped);
}

TEST(Gang, HelpersAreNotWaitedForAndTheirStopIsNone) {
  const auto waiting = sum_up({ended(Reason::exited, 1), running()}, {false, true});
  EXPECT_TRUE(waiting.running && waiting.decided);
  EXPECT_EQ(sum_up({ended(Reason::exited, 1), ended(Reason::stopped, 2)}, {false, true}).event, Event::succeeded);
  EXPECT_EQ(sum_up({running(), ended(Reason::exited, 2, 1)}, {false, true}).cause, 1U)
      << "a helper's failure is one too";
}

}  // namespace
}  // namespace lathe::jobs
