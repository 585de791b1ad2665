#include "base/time_zone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"

namespace lathe {
namespace {

constexpr std::size_t kHeader = 44;
constexpr std::int64_t kDay = 86400;

std::int64_t days_from_civil(int year, int month, int day) {
  using namespace std::chrono;
  return sys_days{std::chrono::year{year} / month / day}.time_since_epoch().count();
}

int year_of(std::int64_t seconds) {
  using namespace std::chrono;
  return static_cast<int>(year_month_day{floor<days>(sys_seconds{std::chrono::seconds{seconds}})}.year());
}

bool is_leap(int year) {
  return std::chrono::year{year}.is_leap();
}

}  // namespace

/// Reads a TZif file and the rule at its end.
class TzParser {
 public:
  explicit TzParser(std::string_view content) : in_(content) {}

  Result<TimeZone> run() {
    std::size_t counts[6];
    if (!header(counts)) return broken();
    if (version_ >= '2') {
      // The first part has 32-bit times; a second one like it has all.
      at_ += counts[3] * 5 + counts[4] * 6 + counts[5] + counts[2] * 8 + counts[1] + counts[0];
      if (!header(counts)) return broken();
    }
    const std::size_t wide = version_ >= '2' ? 8 : 4;
    const auto [uts, stds, leaps, times, types, chars] =
        std::tuple{counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
    const auto size = times * (wide + 1) + types * 6 + chars + leaps * (wide + 4) + stds + uts;
    if (types == 0 || in_.size() < at_ + size) return broken();
    const auto index_at = at_ + times * wide;
    const auto type_at = index_at + times;
    const auto offset = [&](std::size_t type) { return number(type_at + type * 6, 4); };
    zone_.first_offset_ = offset(0);
    for (std::size_t i = 0; i < times; ++i) {
      const auto type = static_cast<unsigned char>(in_[index_at + i]);
      if (type >= types) return broken();
      zone_.changes_.push_back({number(at_ + i * wide, wide), offset(type)});
    }
    at_ += size;
    zone_.standard_ = zone_.changes_.empty() ? zone_.first_offset_ : zone_.changes_.back().offset;
    if (version_ >= '2' && at_ < in_.size() && in_[at_] == '\n') {
      in_ = in_.substr(at_ + 1, in_.find('\n', at_ + 1) - at_ - 1);
      at_ = 0;
      if (!in_.empty() && !rule()) return broken();
    }
    return zone_;
  }

 private:
  static Result<TimeZone> broken() { return fail(Code::invalid, "the time zone's file cannot be read"); }

  std::int64_t number(std::size_t at, std::size_t bytes) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(in_[at + i]);
    return bytes == 4 ? static_cast<std::int32_t>(static_cast<std::uint32_t>(value)) : static_cast<std::int64_t>(value);
  }

  bool header(std::size_t (&counts)[6]) {
    if (in_.size() < at_ + kHeader || in_.substr(at_, 4) != "TZif") return false;
    version_ = in_[at_ + 4];
    for (std::size_t i = 0; i < 6; ++i) {
      counts[i] = static_cast<std::size_t>(number(at_ + 20 + i * 4, 4));
      if (counts[i] > 100'000) return false;
    }
    at_ += kHeader;
    return true;
  }

  /// "PST8PDT,M3.2.0,M11.1.0", as POSIX has it; offsets are west of Greenwich.
  bool rule() {
    if (!name() || !offset(zone_.standard_)) return false;
    zone_.standard_ = -zone_.standard_;
    if (at_ == in_.size()) return true;
    if (!name()) return false;
    zone_.has_summer_ = true;
    zone_.summer_ = zone_.standard_ + 3600;
    if (at_ < in_.size() && in_[at_] != ',') {
      if (!offset(zone_.summer_)) return false;
      zone_.summer_ = -zone_.summer_;
    }
    return day(zone_.begins_) && day(zone_.ends_) && at_ == in_.size();
  }

  bool name() {
    const auto begin = at_;
    if (at_ < in_.size() && in_[at_] == '<') {
      at_ = in_.find('>', at_);
      if (at_ == std::string_view::npos) return false;
      ++at_;
      return true;
    }
    while (at_ < in_.size() && std::isalpha(static_cast<unsigned char>(in_[at_])) != 0) ++at_;
    return at_ > begin;
  }

  bool digits(std::int64_t& value) {
    const auto begin = at_;
    for (value = 0; at_ < in_.size() && std::isdigit(static_cast<unsigned char>(in_[at_])) != 0 && at_ - begin < 6;
         ++at_)
      value = value * 10 + (in_[at_] - '0');
    return at_ > begin;
  }

  bool take(char c) { return at_ < in_.size() && in_[at_] == c && ++at_ > 0; }

  /// "[+-]hh[:mm[:ss]]"
  bool offset(std::int64_t& seconds) {
    const bool negative = take('-');
    if (!negative) take('+');
    std::int64_t part = 0;
    if (!digits(part)) return false;
    seconds = part * 3600;
    for (const std::int64_t unit : {60, 1}) {
      if (!take(':')) break;
      if (!digits(part)) return false;
      seconds += part * unit;
    }
    if (negative) seconds = -seconds;
    return true;
  }

  bool day(TimeZone::Rule& rule) {
    std::int64_t month = 0;
    std::int64_t week = 0;
    std::int64_t number = 0;
    if (!take(',')) return false;
    if (take('M')) {
      rule.kind = 'M';
      if (!digits(month) || !take('.') || !digits(week) || !take('.') || !digits(number)) return false;
      if (month < 1 || month > 12 || week < 1 || week > 5 || number > 6) return false;
    } else {
      rule.kind = take('J') ? 'J' : '0';
      if (!digits(number) || number > 365) return false;
    }
    rule.month = static_cast<int>(month);
    rule.week = static_cast<int>(week);
    rule.day = static_cast<int>(number);
    return !take('/') || offset(rule.time);
  }

  std::string_view in_;
  std::size_t at_ = 0;
  char version_ = '\0';
  TimeZone zone_;
};

std::int64_t TimeZone::Rule::seconds_in(int year) const {
  if (kind == 'J') {
    const int skipped = is_leap(year) && day >= 60 ? 1 : 0;
    return (days_from_civil(year, 1, 1) + day - 1 + skipped) * kDay + time;
  }
  if (kind == '0') return (days_from_civil(year, 1, 1) + day) * kDay + time;
  const auto first = days_from_civil(year, month, 1);
  const auto weekday = (first % 7 + 7 + 4) % 7;  // 1970-01-01 was a Thursday
  auto wanted = first + (day - weekday + 7) % 7 + (week - 1) * 7;
  const auto next_month = month == 12 ? days_from_civil(year + 1, 1, 1) : days_from_civil(year, month + 1, 1);
  if (wanted >= next_month) wanted -= 7;  // week 5 is the last one
  return wanted * kDay + time;
}

std::int64_t TimeZone::offset_by_rule(std::int64_t utc) const {
  if (!has_summer_) return standard_;
  const int year = year_of(utc + standard_);
  const auto begin = begins_.seconds_in(year) - standard_;
  const auto end = ends_.seconds_in(year) - summer_;
  const bool summer = begin < end ? utc >= begin && utc < end : utc >= begin || utc < end;
  return summer ? summer_ : standard_;
}

std::int64_t TimeZone::offset_at(std::int64_t utc) const {
  const auto after = std::upper_bound(changes_.begin(), changes_.end(), utc,
                                      [](auto time, const Change& change) { return time < change.at; });
  if (after == changes_.end()) return offset_by_rule(utc);
  return after == changes_.begin() ? first_offset_ : std::prev(after)->offset;
}

LocalSeconds TimeZone::local(Time time) const {
  const auto utc = std::chrono::floor<std::chrono::seconds>(time).time_since_epoch();
  return LocalSeconds{utc + std::chrono::seconds{offset_at(utc.count())}};
}

Time TimeZone::utc(LocalSeconds local) const {
  const auto wall = local.time_since_epoch().count();
  // The offsets of a day before and a day after: a change lies between them, if there is one near.
  const auto before = offset_at(wall - kDay - offset_at(wall));
  const auto after = offset_at(wall + kDay - offset_at(wall));
  const auto early = wall - before;
  const auto late = wall - after;
  const auto utc = offset_at(early) == before ? early : offset_at(late) == after ? late : early;
  return Time{std::chrono::seconds{utc}};
}

Result<TimeZone> TimeZone::parse(std::string_view content) {
  return TzParser(content).run();
}

Result<TimeZone> TimeZone::find(std::string_view name) {
  namespace fs = std::filesystem;
  if (name == "UTC" || name == "utc" || name == "Etc/UTC") return TimeZone{};
  const auto windows = iana_name(name);
  const auto wanted = windows.empty() ? name : windows;
  const bool good = !wanted.empty() && wanted.front() != '/' && wanted.find("..") == std::string_view::npos &&
                    std::all_of(wanted.begin(), wanted.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '/' || c == '_' || c == '-' || c == '+';
                    });
  const char* set = std::getenv("TZDIR");
  const fs::path folder = set != nullptr && *set == '/' ? set : "/usr/share/zoneinfo";
  std::error_code error;
  if (good && fs::is_regular_file(folder / wanted, error)) {
    LATHE_TRY(const auto content, read_file(folder / wanted, std::size_t{1} << 20));
    return parse(content);
  }
  if (!fs::exists(folder, error))
    return fail(Code::invalid,
                fmt::format("this machine has no time zone files in {}: install tzdata, or use UTC", folder.string()));
  return fail(
      Code::invalid,
      fmt::format("no time zone named \"{}\": name one as in \"Europe/Berlin\" or \"Pacific Standard Time\"", name));
}

}  // namespace lathe
