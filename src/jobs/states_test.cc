#include "jobs/states.h"

#include <gtest/gtest.h>

#include <array>

namespace lathe::jobs {
namespace {

constexpr std::array kStates = {State::queued, State::preparing, State::running, State::cancel_requested,
                                State::completed, State::failed, State::canceled};
constexpr std::array kEvents = {Event::placed, Event::launched, Event::stop_asked, Event::succeeded,
                                Event::broke, Event::stopped, Event::put_back};

TEST(JobStates, AJobThatGoesWellIsPlacedLaunchedAndSucceeds) {
  EXPECT_EQ(next(State::queued, Event::placed), State::preparing);
  EXPECT_EQ(next(State::preparing, Event::launched), State::running);
  EXPECT_EQ(next(State::running, Event::succeeded), State::completed);
}

TEST(JobStates, AQueuedJobThatIsCancelledNeverStarts) {
  EXPECT_EQ(next(State::queued, Event::stop_asked), State::canceled);
  EXPECT_EQ(next(State::canceled, Event::placed), std::nullopt);
}

TEST(JobStates, ARunningJobIsCancelledWhenItsProcessHasEnded) {
  EXPECT_EQ(next(State::running, Event::stop_asked), State::cancel_requested);
  EXPECT_EQ(next(State::cancel_requested, Event::stopped), State::canceled);
  EXPECT_EQ(next(State::cancel_requested, Event::broke), State::canceled);
}

TEST(JobStates, WhatACrashLeavesInPreparingWaitsAgain) {
  EXPECT_EQ(next(State::preparing, Event::put_back), State::queued);
  EXPECT_EQ(next(State::cancel_requested, Event::put_back), State::canceled);
}

TEST(JobStates, ARunningJobCanBeQueuedAgainUnlessItWasCancelled) {
  EXPECT_EQ(next(State::running, Event::put_back), State::queued);
  EXPECT_EQ(next(State::cancel_requested, Event::put_back), State::canceled);
}

TEST(JobStates, NothingFollowsAnEnd) {
  for (const auto state : kStates) {
    for (const auto event : kEvents) {
      if (!is_final(state)) continue;
      EXPECT_EQ(next(state, event), std::nullopt) << name_of(state);
    }
  }
}

TEST(JobStates, FromEveryStateThatIsNoEndAnEndCanBeReachedWhateverTheProcessDid) {
  // After a restart a process may be found ended in any state: its exit must always lead somewhere final.
  for (const auto state : kStates) {
    if (is_final(state)) continue;
    for (const auto event : {Event::succeeded, Event::broke, Event::stopped}) {
      const auto to = next(state, event);
      ASSERT_TRUE(to.has_value()) << name_of(state);
      EXPECT_TRUE(is_final(*to)) << name_of(state);
    }
  }
}

TEST(JobStates, NamesAreAzuresAndReadBack) {
  for (const auto state : kStates) EXPECT_EQ(parse_state(name_of(state)), state);
  EXPECT_EQ(name_of(State::cancel_requested), "CancelRequested");
  EXPECT_EQ(parse_state("Done"), std::nullopt);
}

}  // namespace
}  // namespace lathe::jobs
