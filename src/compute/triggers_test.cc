#include "compute/triggers.h"

#include <gtest/gtest.h>

#include "base/iso8601.h"

namespace lathe::compute {
namespace {

Trigger trigger(const char* text) {
  json::Report report;
  return Trigger::read(json::parse_object(text).value(), "trigger.", report).value();
}
std::string error(const char* text) {
  json::Report report;
  const auto read = Trigger::read(json::parse_object(text).value(), "trigger.", report);
  return read ? "" : read.error().message;
}
/// The next times after `from`, to the minute: "2026-03-02T18:00".
std::vector<std::string> next(const Trigger& trigger, const char* from, int count = 1) {
  std::vector<std::string> out;
  auto time = parse_iso8601(from).value();
  while (count-- > 0) {
    const auto found = trigger.next_after(time);
    if (!found) {
      out.emplace_back("never");
      break;
    }
    out.push_back(to_iso8601(*found).substr(0, 16));
    time = *found;
  }
  return out;
}
using Times = std::vector<std::string>;

TEST(Trigger, ACronExpressionActsAtItsTimes) {
  const auto evening = trigger(R"({"type":"cron","expression":"0 18 * * mon-fri"})");
  EXPECT_EQ(next(evening, "2026-02-27T17:59:59Z", 2), (Times{"2026-02-27T18:00", "2026-03-02T18:00"}));
  EXPECT_EQ(next(evening, "2026-02-27T18:00:00Z"), (Times{"2026-03-02T18:00"}));
  EXPECT_EQ(next(trigger(R"({"expression":"*/20 7-8 1,15 * *"})"), "2026-03-01T08:30:00Z", 2), (Times{"2026-03-01T08:40", "2026-03-15T07:00"}));
  EXPECT_EQ(next(trigger(R"({"expression":"0 0 29 feb *"})"), "2026-03-01T00:00:00Z"), (Times{"2028-02-29T00:00"}));
  EXPECT_EQ(next(trigger(R"({"expression":"0 0 30 2 *"})"), "2026-03-01T00:00:00Z"), (Times{"never"}));
}

TEST(Trigger, OfTwoDaysInACronExpressionEitherWillDo) {
  const auto either = trigger(R"({"expression":"0 0 13 * 5"})");
  EXPECT_EQ(next(either, "2026-03-12T00:00:00Z", 3), (Times{"2026-03-13T00:00", "2026-03-20T00:00", "2026-03-27T00:00"}));
  EXPECT_EQ(next(either, "2026-04-10T00:00:00Z"), (Times{"2026-04-13T00:00"}));
  EXPECT_EQ(next(trigger(R"({"expression":"0 0 * * 7"})"), "2026-03-12T00:00:00Z"), (Times{"2026-03-15T00:00"}));
}

TEST(Trigger, TimesAreThoseOfTheZonesClock) {
  const auto pacific = trigger(R"({"expression":"0 18 * * *","time_zone":"Pacific Standard Time"})");
  EXPECT_EQ(next(pacific, "2026-01-10T00:00:00Z"), (Times{"2026-01-10T02:00"}));
  EXPECT_EQ(next(pacific, "2026-07-10T00:00:00Z"), (Times{"2026-07-10T01:00"}));
}

TEST(Trigger, WhatTheClockLeapsOverComesLaterAndWhatItShowsTwiceComesOnce) {
  const auto night = trigger(R"({"expression":"30 2 * * *","time_zone":"Europe/Berlin"})");
  EXPECT_EQ(next(night, "2026-03-28T12:00:00Z", 2), (Times{"2026-03-29T01:30", "2026-03-30T00:30"}));  // 3:30 in summer time
  EXPECT_EQ(next(night, "2026-10-24T12:00:00Z", 2), (Times{"2026-10-25T00:30", "2026-10-26T01:30"}));
  const auto often = trigger(R"({"expression":"*/30 * * * *","time_zone":"Europe/Berlin"})");
  EXPECT_EQ(next(often, "2026-10-25T00:30:00Z"), (Times{"2026-10-25T02:00"}));
}

TEST(Trigger, ARecurrenceCountsFromItsStart) {
  const auto third = trigger(R"({"type":"recurrence","frequency":"day","interval":3,"start_time":"2026-05-01T09:30:00"})");
  EXPECT_EQ(next(third, "2026-01-01T00:00:00Z", 3), (Times{"2026-05-01T09:30", "2026-05-04T09:30", "2026-05-07T09:30"}));
  const auto hours = trigger(R"({"frequency":"hour","interval":5,"start_time":"2026-05-01T09:30:00","end_time":"2026-05-01T20:00:00"})");
  EXPECT_EQ(next(hours, "2026-05-01T09:29:00Z", 4), (Times{"2026-05-01T09:30", "2026-05-01T14:30", "2026-05-01T19:30", "never"}));
  const auto minutes = trigger(R"({"frequency":"Minute","interval":15})");
  EXPECT_EQ(next(minutes, "2026-05-01T09:31:00Z"), (Times{"2026-05-01T09:45"}));
}

TEST(Trigger, ARecurrenceHasDaysAndTimes) {
  const auto weeks = trigger(R"({"frequency":"week","interval":2,"start_time":"2026-05-06T00:00:00",
      "schedule":{"hours":[8,17],"minutes":[15],"week_days":["monday","wednesday"]}})");
  EXPECT_EQ(next(weeks, "2026-05-01T00:00:00Z", 4),
            (Times{"2026-05-06T08:15", "2026-05-06T17:15", "2026-05-18T08:15", "2026-05-18T17:15"}));
  const auto months = trigger(R"({"frequency":"month","interval":1,"schedule":{"hours":10,"minutes":0,"month_days":[31]}})");
  EXPECT_EQ(next(months, "2026-04-01T00:00:00Z", 2), (Times{"2026-05-31T10:00", "2026-07-31T10:00"}));
  const auto plain = trigger(R"({"frequency":"week","start_time":"2026-05-06T07:05:00Z"})");
  EXPECT_EQ(next(plain, "2026-05-06T07:05:00Z"), (Times{"2026-05-13T07:05"}));
}

TEST(Trigger, ErrorsNameTheField) {
  EXPECT_EQ(error(R"({"expression":"0 24 * * *"})").substr(0, 19), "trigger.expression:");
  EXPECT_EQ(error(R"({"expression":"0 18 * *"})").substr(0, 19), "trigger.expression:");
  EXPECT_EQ(error(R"({"expression":"5-1 0 * * *"})").substr(0, 19), "trigger.expression:");
  EXPECT_EQ(error(R"({"expression":"0 18 * * *","time_zone":"Mars Standard Time"})").substr(0, 18), "trigger.time_zone:");
  EXPECT_EQ(error(R"({"expression":"0 18 * * *","time_zone":"../../etc/passwd"})").substr(0, 18), "trigger.time_zone:");
  EXPECT_EQ(error(R"({"frequency":"year"})").substr(0, 18), "trigger.frequency:");
  EXPECT_EQ(error(R"({"frequency":"day","interval":0})").substr(0, 17), "trigger.interval:");
  EXPECT_EQ(error(R"({"frequency":"day","schedule":{"hours":[24]}})").substr(0, 23), "trigger.schedule.hours:");
  EXPECT_EQ(error(R"({"frequency":"week","schedule":{"week_days":["funday"]}})").substr(0, 27), "trigger.schedule.week_days:");
  EXPECT_EQ(error(R"({"frequency":"day","start_time":"soon"})").substr(0, 19), "trigger.start_time:");
  EXPECT_EQ(error(R"({"frequency":"day","begin":"soon"})").substr(0, 14), "trigger.begin:");
}

}  // namespace
}  // namespace lathe::compute
