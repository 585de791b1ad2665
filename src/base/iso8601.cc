#include "base/iso8601.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace lathe {
namespace {

/// A number of exactly `digits` digits from the front of `text`, at most `most`, and what must follow it.
std::optional<int> take_digits(std::string_view& text, std::size_t digits, int most, std::string_view then) {
  int value = 0;
  const auto front = text.substr(0, digits);
  const auto [end, error] = std::from_chars(front.data(), front.data() + front.size(), value);
  if (error != std::errc{} || end != text.data() + digits || front[0] == '-' || value > most) return std::nullopt;
  text.remove_prefix(digits);
  if (!text.starts_with(then)) return std::nullopt;
  text.remove_prefix(then.size());
  return value;
}

/// ".123456789" from the front of `text`, in microseconds.
std::int64_t take_fraction(std::string_view& text) {
  std::int64_t micros = 0;
  if (!text.starts_with('.')) return micros;
  text.remove_prefix(1);
  for (std::int64_t unit = 100'000; !text.empty() && text[0] >= '0' && text[0] <= '9'; unit /= 10) {
    micros += unit * (text[0] - '0');
    text.remove_prefix(1);
  }
  return micros;
}

/// "Z" or "+02:00", as what must be taken away.
std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
  if (text == "Z" || text == "z") return std::chrono::minutes{0};
  if (text.empty() || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const int sign = text[0] == '+' ? 1 : -1;
  text.remove_prefix(1);
  const auto hours = take_digits(text, 2, 23, ":");
  const auto minutes = hours ? take_digits(text, 2, 59, "") : std::nullopt;
  if (!minutes || !text.empty()) return std::nullopt;
  return std::chrono::minutes{sign * (*hours * 60 + *minutes)};
}

}  // namespace

Result<Time> parse_iso8601(std::string_view text) {
  const auto whole = text;
  const auto refuse = [&] {
    return fail(Code::invalid,
                fmt::format("not a time: \"{}\" (example: 2026-05-01T12:30:00.5Z)", whole.substr(0, 60)));
  };
  const auto year = take_digits(text, 4, 9999, "-");
  const auto month = year ? take_digits(text, 2, 12, "-") : std::nullopt;
  const auto day = month ? take_digits(text, 2, 31, "T") : std::nullopt;
  const auto hour = day ? take_digits(text, 2, 23, ":") : std::nullopt;
  const auto minute = hour ? take_digits(text, 2, 59, ":") : std::nullopt;
  const auto second = minute ? take_digits(text, 2, 59, "") : std::nullopt;
  if (!second) return refuse();
  const auto fraction = take_fraction(text);
  const auto offset = take_offset(text);
  const std::chrono::year_month_day date{std::chrono::year{*year}, std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!offset || !date.ok()) return refuse();
  return Time{std::chrono::sys_days{date} + std::chrono::hours{*hour} + std::chrono::minutes{*minute} +
              std::chrono::seconds{*second} + std::chrono::microseconds{fraction} - *offset};
}

}  // namespace lathe
