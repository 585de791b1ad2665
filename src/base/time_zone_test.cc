#include "base/time_zone.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/file.h"
#include "base/iso8601.h"

namespace lathe {
namespace {

LocalSeconds wall(const char* text) {
  return LocalSeconds{std::chrono::floor<std::chrono::seconds>(parse_iso8601(std::string(text) + "Z").value()).time_since_epoch()};
}
std::string utc(const TimeZone& zone, const char* local) { return to_iso8601(zone.utc(wall(local))).substr(0, 19); }

TEST(TimeZone, AgreesWithTheSystemAtAnyTime) {
  for (const char* name : {"Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia"}) {
    const auto zone = TimeZone::find(name).value();
    ::setenv("TZ", name, 1);
    ::tzset();
    for (std::int64_t at = -1'500'000'000; at < 4'000'000'000; at += 7'654'321) {  // 1922 to 2096
      const auto time = static_cast<std::time_t>(at);
      std::tm local{};
      ::localtime_r(&time, &local);
      ASSERT_EQ(zone.local(Time{std::chrono::seconds{at}}).time_since_epoch().count(), at + local.tm_gmtoff) << name << " " << at;
    }
  }
  ::unsetenv("TZ");
  ::tzset();
}

TEST(TimeZone, ATimeThatIsShownTwiceIsTheFirstAndOneThatIsNotShownComesLater) {
  const auto berlin = TimeZone::find("W. Europe Standard Time").value();
  EXPECT_EQ(utc(berlin, "2026-07-01T12:00:00"), "2026-07-01T10:00:00");
  EXPECT_EQ(utc(berlin, "2026-10-25T02:30:00"), "2026-10-25T00:30:00");
  EXPECT_EQ(utc(berlin, "2026-10-25T03:30:00"), "2026-10-25T02:30:00");
  EXPECT_EQ(utc(berlin, "2026-03-29T02:30:00"), "2026-03-29T01:30:00");
  EXPECT_EQ(utc(TimeZone::find("UTC").value(), "2026-03-29T02:30:00"), "2026-03-29T02:30:00");
}

TEST(TimeZone, TheRuleGoesOnAfterTheTable) {
  const auto berlin = TimeZone::find("Europe/Berlin").value();
  EXPECT_EQ(utc(berlin, "2150-07-01T12:00:00"), "2150-07-01T10:00:00");
  EXPECT_EQ(utc(berlin, "2150-12-01T12:00:00"), "2150-12-01T11:00:00");
  const auto sydney = TimeZone::find("AUS Eastern Standard Time").value();  // summer over the turn of the year
  EXPECT_EQ(utc(sydney, "2150-01-01T12:00:00"), "2150-01-01T01:00:00");
}

TEST(TimeZone, EveryNameOfWindowsIsAZoneHere) {
  EXPECT_EQ(iana_name("pacific standard time"), "America/Los_Angeles");
  EXPECT_EQ(iana_name("Nowhere Standard Time"), "");
  for (const char* name : {"AUS Central Standard Time", "Yukon Standard Time", "UTC-11", "India Standard Time", "Coordinated Universal Time"})
    EXPECT_TRUE(TimeZone::find(name).has_value()) << name;
}

TEST(TimeZone, WhatIsNoZoneIsRefused) {
  EXPECT_EQ(TimeZone::find("Europe/Atlantis").error().code, Code::invalid);
  EXPECT_EQ(TimeZone::find("../../../etc/passwd").error().code, Code::invalid);
  EXPECT_EQ(TimeZone::find("").error().code, Code::invalid);
}

TEST(TimeZone, ABrokenFileIsRefused) {
  const auto whole = read_file("/usr/share/zoneinfo/Europe/Berlin").value();
  for (std::size_t size = 0; size < whole.size() - 1; size += 13) EXPECT_FALSE(TimeZone::parse(whole.substr(0, size)).has_value()) << size;
  EXPECT_TRUE(TimeZone::parse(whole).has_value());
  for (std::size_t at = 0; at < whole.size(); ++at) {  // whatever a byte becomes, it is read or refused
    auto changed = whole;
    changed[at] = '\xff';
    if (const auto zone = TimeZone::parse(changed)) (void)zone->local(Time{});
  }
}

}  // namespace
}  // namespace lathe
