#include "compute/triggers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/iso8601.h"
#include "base/text.h"

namespace lathe::compute {
namespace {

namespace chrono = std::chrono;
using chrono::local_days;

constexpr std::int64_t kMostInterval = 1000;
constexpr int kYearsAhead = 10;

constexpr std::array<std::string_view, 7> kDays = {"sunday",   "monday", "tuesday", "wednesday",
                                                   "thursday", "friday", "saturday"};
constexpr std::array<std::string_view, 12> kMonths = {"january",   "february", "march",    "april",
                                                      "may",       "june",     "july",     "august",
                                                      "september", "october",  "november", "december"};

/// A number, or a day's or month's name with three letters at least. -1: neither.
template <std::size_t N>
int value_of(std::string_view text, const std::array<std::string_view, N>& names, int first) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return value;
  const auto lower = to_lower(text);
  for (std::size_t i = 0; i < N; ++i)
    if (lower.size() >= 3 && names[i].starts_with(lower)) return static_cast<int>(i) + first;
  return -1;
}

/// One field of a cron expression: "*", "*/5", "1-5", "mon-fri", "0,30", "10-50/20".
template <std::size_t N>
bool read_cron_field(std::string_view field, int least, int most, const std::array<std::string_view, N>& names,
                     std::set<int>& out) {
  for (const auto part : split(field, ',')) {
    const auto slash = part.find('/');
    const auto range = part.substr(0, slash);
    int step = 1;
    if (slash != std::string_view::npos) step = value_of(part.substr(slash + 1), std::array<std::string_view, 0>{}, 0);
    int from = least;
    int to = most;
    if (range != "*") {
      const auto dash = range.find('-');
      from = value_of(range.substr(0, dash), names, least);
      to = dash == std::string_view::npos ? (slash == std::string_view::npos ? from : most)
                                          : value_of(range.substr(dash + 1), names, least);
    }
    if (step < 1 || from < least || to > most || from > to) return false;
    for (int value = from; value <= to; value += step) out.insert(value);
  }
  return !out.empty();
}

/// "2022-03-10T10:15:00", also with spaces, fractions and an offset (which then counts, not the zone).
Result<Time> read_time(const std::string& text, const TimeZone& zone, const std::string& field) {
  if (auto exact = parse_iso8601(text)) return *exact;
  std::string plain = text;
  if (const auto space = plain.find(' '); space != std::string::npos) plain[space] = 'T';
  if (plain.find('T') == std::string::npos) plain += "T00:00:00";
  const auto wall = parse_iso8601(plain + "Z");
  if (!wall)
    return fail(Code::invalid, fmt::format("{}: must be a time such as 2026-05-01T09:00:00, not \"{}\"", field, text));
  return zone.utc(LocalSeconds{chrono::floor<chrono::seconds>(*wall).time_since_epoch()});
}

Result<std::set<int>> read_numbers(const json::Object& object, std::string_view key, int least, int most,
                                   const std::string& path) {
  std::set<int> out;
  const auto* value = json::find(object, key);
  if (value == nullptr || value->is_null()) return out;
  const auto one = [&](const json::Value& item) -> Result<void> {
    const bool good = item.is_int64() && item.get_int64() >= least && item.get_int64() <= most;
    if (!good)
      return fail(Code::invalid, fmt::format("{}{}: must be numbers from {} to {}, not {}", path, key, least, most,
                                             json::print(item)));
    out.insert(static_cast<int>(item.get_int64()));
    return {};
  };
  if (!value->is_array()) {
    LATHE_CHECK(one(*value));
    return out;
  }
  for (const auto& item : value->get_array()) LATHE_CHECK(one(item));
  return out;
}

Result<std::set<int>> read_week_days(const json::Object& object, const std::string& path) {
  std::set<int> out;
  const auto* value = json::find(object, "week_days");
  if (value == nullptr || value->is_null()) return out;
  json::Array list;
  if (value->is_array())
    list = value->get_array();
  else
    list.push_back(*value);
  for (const auto& item : list) {
    const int day = item.is_string() ? value_of(json::view(item.get_string()), kDays, 0) : -1;
    if (day < 0 || day > 6)
      return fail(Code::invalid,
                  fmt::format("{}week_days: must be days such as monday, not {}", path, json::print(item)));
    out.insert(day);
  }
  return out;
}

}  // namespace

Result<Trigger> Trigger::read(const json::Object& document, const std::string& path, json::Report& report) {
  static const std::vector<std::string> kFields = {"type",     "expression", "frequency", "interval",
                                                   "schedule", "start_time", "end_time",  "time_zone"};
  for (const auto& member : document) {
    const std::string key(member.key().data(), member.key().size());
    if (std::find(kFields.begin(), kFields.end(), key) == kFields.end())
      return fail(Code::invalid, fmt::format("{}{}: {}", path, key, unknown_name("field", key, kFields)));
  }
  Trigger out;
  LATHE_TRY(const auto zone, json::get_string(document, "time_zone"));
  auto found = TimeZone::find(zone.value_or("UTC"));
  if (!found) return fail(Code::invalid, fmt::format("{}time_zone: {}", path, found.error().message));
  out.zone_ = std::move(*found);
  LATHE_TRY(const auto start, json::get_string(document, "start_time"));
  LATHE_TRY(const auto end, json::get_string(document, "end_time"));
  if (start) {
    LATHE_TRY(out.start_, read_time(*start, out.zone_, path + "start_time"));
    out.anchor_ = out.zone_.local(*out.start_);
  }
  if (end) {
    LATHE_TRY(out.end_, read_time(*end, out.zone_, path + "end_time"));
  }
  LATHE_TRY(const auto type, json::get_string(document, "type"));
  const auto kind = to_lower(type.value_or(document.contains("expression") ? "cron" : "recurrence"));
  if (kind == "cron") {
    LATHE_CHECK(out.read_cron(document, path));
    for (const char* other : {"frequency", "interval", "schedule"})
      if (document.contains(other)) report.push_back({path + other, "ignored", "the trigger is a cron expression"});
  } else if (kind == "recurrence") {
    LATHE_CHECK(out.read_recurrence(document, path));
    if (document.contains("expression"))
      report.push_back({path + "expression", "ignored", "the trigger is a recurrence"});
  } else {
    return fail(Code::invalid, fmt::format("{}type: must be cron or recurrence, not \"{}\"", path, *type));
  }
  return out;
}

Result<void> Trigger::read_cron(const json::Object& document, const std::string& path) {
  LATHE_TRY(const auto expression, json::get_string(document, "expression"));
  const auto wrong = [&] {
    return fail(
        Code::invalid,
        fmt::format(
            "{}expression: must be five fields such as \"0 18 * * mon-fri\" (minute, hour, day, month, day of the "
            "week), not \"{}\"",
            path, expression.value_or("")));
  };
  std::vector<std::string_view> fields;
  if (expression)
    for (const auto field : split(*expression, ' '))
      if (!trim(field).empty()) fields.push_back(trim(field));
  constexpr std::array<std::string_view, 0> kNone{};
  std::set<int> days;
  if (fields.size() != 5 || !read_cron_field(fields[0], 0, 59, kNone, minutes_) ||
      !read_cron_field(fields[1], 0, 23, kNone, hours_) || !read_cron_field(fields[2], 1, 31, kNone, month_days_) ||
      !read_cron_field(fields[3], 1, 12, kMonths, months_) || !read_cron_field(fields[4], 0, 7, kDays, days))
    return wrong();
  for (const int day : days) week_days_.insert(day % 7);
  if (fields[2].starts_with('*') && month_days_.size() == 31) month_days_.clear();
  if (fields[4].starts_with('*') && week_days_.size() == 7) week_days_.clear();
  return {};
}

Result<void> Trigger::read_recurrence(const json::Object& document, const std::string& path) {
  static const std::map<std::string, Frequency> kFrequencies = {{"minute", Frequency::minute},
                                                                {"hour", Frequency::hour},
                                                                {"day", Frequency::day},
                                                                {"week", Frequency::week},
                                                                {"month", Frequency::month}};
  LATHE_TRY(const auto frequency, json::get_string(document, "frequency"));
  const auto known = kFrequencies.find(to_lower(frequency.value_or("")));
  if (known == kFrequencies.end())
    return fail(Code::invalid, fmt::format("{}frequency: must be minute, hour, day, week or month, not \"{}\"", path,
                                           frequency.value_or("")));
  frequency_ = known->second;
  LATHE_TRY(const auto intervals, read_numbers(document, "interval", 1, kMostInterval, path));
  if (intervals.size() > 1) return fail(Code::invalid, path + "interval: must be one number");
  if (!intervals.empty()) interval_ = *intervals.begin();
  LATHE_TRY(const auto* schedule, json::get_object(document, "schedule"));
  if (schedule != nullptr) {
    if (frequency_ == Frequency::minute || frequency_ == Frequency::hour)
      return fail(Code::invalid, path + "schedule: goes with the frequencies day, week and month");
    LATHE_CHECK(read_times(*schedule, path + "schedule."));
  }
  // What the schedule leaves open is as at the start.
  const auto day = chrono::floor<chrono::days>(anchor_);
  const chrono::hh_mm_ss clock{anchor_ - day};
  if (hours_.empty()) hours_.insert(static_cast<int>(clock.hours().count()));
  if (minutes_.empty()) minutes_.insert(static_cast<int>(clock.minutes().count()));
  if (frequency_ == Frequency::week && week_days_.empty())
    week_days_.insert(static_cast<int>(chrono::weekday{day}.c_encoding()));
  if (frequency_ == Frequency::month && month_days_.empty() && week_days_.empty())
    month_days_.insert(static_cast<int>(static_cast<unsigned>(chrono::year_month_day{day}.day())));
  return {};
}

Result<void> Trigger::read_times(const json::Object& schedule, const std::string& path) {
  static const std::vector<std::string> kFields = {"hours", "minutes", "week_days", "month_days"};
  for (const auto& member : schedule) {
    const std::string key(member.key().data(), member.key().size());
    if (std::find(kFields.begin(), kFields.end(), key) == kFields.end())
      return fail(Code::invalid, fmt::format("{}{}: {}", path, key, unknown_name("field", key, kFields)));
  }
  LATHE_TRY(hours_, read_numbers(schedule, "hours", 0, 23, path));
  LATHE_TRY(minutes_, read_numbers(schedule, "minutes", 0, 59, path));
  LATHE_TRY(month_days_, read_numbers(schedule, "month_days", 1, 31, path));
  LATHE_TRY(week_days_, read_week_days(schedule, path));
  return {};
}

bool Trigger::on_day(local_days day) const {
  const chrono::year_month_day date{day};
  const auto in = [](const std::set<int>& set, unsigned value) { return set.contains(static_cast<int>(value)); };
  if (!months_.empty() && !in(months_, static_cast<unsigned>(date.month()))) return false;
  const bool month_day = in(month_days_, static_cast<unsigned>(date.day()));
  const bool week_day = in(week_days_, chrono::weekday{day}.c_encoding());
  if (month_days_.empty() && !week_days_.empty() && !week_day) return false;
  if (week_days_.empty() && !month_days_.empty() && !month_day) return false;
  if (!week_days_.empty() && !month_days_.empty() && !month_day && !week_day) return false;

  const auto first = chrono::floor<chrono::days>(anchor_);
  std::int64_t passed = 0;
  if (frequency_ == Frequency::day) {
    passed = (day - first).count();
  } else if (frequency_ == Frequency::week) {
    const auto monday = [](local_days of) { return of - (chrono::weekday{of} - chrono::Monday); };
    passed = (monday(day) - monday(first)).count() / 7;
  } else if (frequency_ == Frequency::month) {
    const chrono::year_month_day begin{first};
    passed = (int{date.year()} - int{begin.year()}) * 12 + static_cast<int>(static_cast<unsigned>(date.month())) -
             static_cast<int>(static_cast<unsigned>(begin.month()));
  }
  return passed % interval_ == 0;
}

std::optional<LocalSeconds> Trigger::next_on_days(LocalSeconds after) const {
  const auto first = chrono::floor<chrono::days>(after);
  const auto last = first + chrono::days{kYearsAhead * 366};
  for (auto day = first; day <= last; day += chrono::days{1}) {
    if (!on_day(day)) continue;
    for (const int hour : hours_)
      for (const int minute : minutes_) {
        const LocalSeconds at = day + chrono::hours{hour} + chrono::minutes{minute};
        if (at > after) return at;
      }
  }
  return std::nullopt;
}

std::optional<Time> Trigger::next_after(Time time) const {
  if (start_ && time < *start_) time = *start_ - chrono::seconds{1};
  if (frequency_ == Frequency::minute || frequency_ == Frequency::hour) {
    const chrono::seconds step{interval_ * (frequency_ == Frequency::minute ? 60 : 3600)};
    const auto first = start_.value_or(Time{});
    const auto next = time < first ? first : first + step * ((time - first) / step + 1);
    return end_ && next > *end_ ? std::nullopt : std::optional{next};
  }
  auto local = zone_.local(time);
  for (int tries = 0; tries < 4 * 60; ++tries) {
    const auto next = next_on_days(local);
    if (!next) return std::nullopt;
    const auto at = zone_.utc(*next);
    if (end_ && at > *end_) return std::nullopt;
    if (at > time) return at;
    local = *next;  // in an hour that comes twice, this is of the first one
  }
  return std::nullopt;
}

}  // namespace lathe::compute
