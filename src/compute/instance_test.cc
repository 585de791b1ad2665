#include "compute/instance.h"

#include <gtest/gtest.h>

#include "base/iso8601.h"

namespace lathe::compute {
namespace {

Time at(const char* text) { return parse_iso8601(text).value(); }

/// Runs on work days from 8 to 18 h, as its schedules have it.
Instance office(const char* acted) {
  Instance out;
  json::Report report;
  const auto document = json::parse_object(R"({"compute_start_stop":[
      {"name":"evening","action":"stop","trigger":{"type":"cron","expression":"0 18 * * mon-fri"}},
      {"name":"morning","action":"Start","state":"Enabled","trigger":{"type":"cron","expression":"0 8 * * mon-fri"}},
      {"action":"stop","status":"disabled","trigger":{"frequency":"minute","interval":1}}]})");
  EXPECT_TRUE(read_schedules(document.value(), out, report));
  out.acted = at(acted);
  return out;
}

TEST(Instance, SchedulesActWhenTheirTimeHasCome) {
  const auto instance = office("2026-03-02T12:00:00Z");
  EXPECT_EQ(next_due(instance, std::nullopt), at("2026-03-02T18:00:00Z"));
  EXPECT_FALSE(due(instance, std::nullopt, at("2026-03-02T17:59:59Z")));
  const auto stop = due(instance, std::nullopt, at("2026-03-02T18:00:00Z"));
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->action, Schedule::Action::stop);
  EXPECT_EQ(stop->trigger, "Schedule");
  EXPECT_EQ(stop->why, "schedule evening");
}

TEST(Instance, OfWhatWasMissedOnlyTheLastIsMadeUpFor) {
  // The server was away from Monday noon to Wednesday morning.
  const auto missed = due(office("2026-03-02T12:00:00Z"), std::nullopt, at("2026-03-04T09:00:00Z"));
  ASSERT_TRUE(missed);
  EXPECT_EQ(missed->action, Schedule::Action::start);
  EXPECT_EQ(missed->at, at("2026-03-04T08:00:00Z"));
  const auto night = due(office("2026-03-02T12:00:00Z"), std::nullopt, at("2026-03-04T23:00:00Z"));
  EXPECT_EQ(night->action, Schedule::Action::stop);
  // Once: what it was made up for is done.
  EXPECT_FALSE(due(office("2026-03-04T23:00:00Z"), std::nullopt, at("2026-03-05T07:00:00Z")));
}

TEST(Instance, AYearsAbsenceIsMadeUpForToo) {
  Instance yearly;
  json::Report report;
  const auto document = json::parse_object(R"({"compute_start_stop":[{"action":"stop","trigger":{"expression":"0 0 1 1 *"}}]})");
  ASSERT_TRUE(read_schedules(document.value(), yearly, report));
  yearly.acted = at("2024-06-01T00:00:00Z");
  const auto missed = due(yearly, std::nullopt, at("2026-06-01T00:00:00Z"));
  ASSERT_TRUE(missed);
  EXPECT_EQ(missed->at, at("2026-01-01T00:00:00Z"));
}

TEST(Instance, AnIdleOneIsStoppedAfterItsTime) {
  Instance instance;
  instance.idle_shutdown_s = 1800;
  EXPECT_EQ(next_due(instance, std::nullopt), std::nullopt);  // busy
  const auto since = at("2026-03-02T12:00:00Z");
  EXPECT_EQ(next_due(instance, since), at("2026-03-02T12:30:00Z"));
  EXPECT_FALSE(due(instance, since, at("2026-03-02T12:29:59Z")));
  const auto stop = due(instance, since, at("2026-03-02T12:30:00Z"));
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->trigger, "IdleShutdown");
  instance.wanted = false;
  EXPECT_FALSE(due(instance, since, at("2026-03-02T13:00:00Z")));
}

TEST(Instance, ErrorsNameTheSchedulesField) {
  const auto error = [](const char* text) {
    Instance instance;
    json::Report report;
    const auto read = read_schedules(json::parse_object(text).value(), instance, report);
    return read ? "" : read.error().message;
  };
  EXPECT_EQ(error(R"({"compute_start_stop":[{"action":"pause","trigger":{"expression":"0 0 * * *"}}]})").substr(0, 39),
            "schedules.compute_start_stop[0].action:");
  EXPECT_EQ(error(R"({"compute_start_stop":[{"action":"stop"}]})").substr(0, 40), "schedules.compute_start_stop[0].trigger:");
  EXPECT_EQ(error(R"({"compute_start_stop":[{"action":"stop","trigger":{"expression":"never"}}]})").substr(0, 51),
            "schedules.compute_start_stop[0].trigger.expression:");
  EXPECT_EQ(error(R"({"compute_start_stop":["stop"]})").substr(0, 32), "schedules.compute_start_stop[0]:");
  EXPECT_EQ(error(R"({"start_stop":[]})").substr(0, 21), "schedules.start_stop:");
}

}  // namespace
}  // namespace lathe::compute
