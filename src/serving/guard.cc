#include "serving/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/text.h"

namespace lathe::serving {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array<Unit, 3> kTimes{{{"us", 1}, {"ms", 1e3}, {"s", 1e6}}};
constexpr std::array<std::pair<std::string_view, double>, 4> kQuantiles{
    {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}}};

std::optional<double> quantile_of(std::string_view metric) {
  for (const auto& [name, part] : kQuantiles)
    if (name == metric) return part;
  return std::nullopt;
}

/// "50ms" in microseconds, or "1%" as a part.
std::optional<double> read_limit(std::string_view text, bool is_time) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (!is_time) return unit == "%" && value <= 100 ? std::optional(value / 100) : std::nullopt;
  for (const auto& each : kTimes)
    if (each.name == unit) return value * each.factor;
  return std::nullopt;
}

Result<Condition> parse_condition(std::string_view text) {
  const auto wrong = [&](const std::string& why) {
    return fail(Code::invalid, "guard: \"" + printable(text) + "\" " + why + "; it must be like p99<50ms or errors<1%");
  };
  const auto less = text.find('<');
  if (less == std::string_view::npos) return wrong("has no '<'");
  Condition out;
  out.text = text;
  out.metric = trim(text.substr(0, less));
  auto limit = text.substr(less + 1);
  out.or_equal = limit.starts_with('=');
  if (out.or_equal) limit.remove_prefix(1);
  const bool errors = out.metric == "errors";
  if (!errors && out.metric != "mean" && !quantile_of(out.metric))
    return wrong(unknown_name("metric", out.metric, {"p50", "p90", "p95", "p99", "mean", "errors"}));
  const auto value = read_limit(trim(limit), !errors);
  if (!value) return wrong(errors ? "needs a percentage" : "needs a time in us, ms or s");
  if (*value == 0 && !out.or_equal) return wrong("can never hold");
  out.limit = *value;
  return out;
}

std::string print_time(double us) {
  if (us < 1000) return fmt::format("{:.0f} us", us);
  if (us < 1e6) return fmt::format("{:.1f} ms", us / 1e3);
  return fmt::format("{:.2f} s", us / 1e6);
}

}  // namespace

Sample between(const Sample& earlier, const Sample& later) {
  const auto before = [&](const std::string& bucket) {
    const auto found = earlier.latency_us.find(bucket);
    return found == earlier.latency_us.end() ? std::int64_t{0} : found->second;
  };
  if (later.began_us != earlier.began_us) return later;
  Sample out{later.requests - earlier.requests,
             later.errors - earlier.errors,
             later.succeeded - earlier.succeeded,
             later.total_us - earlier.total_us,
             {},
             later.began_us};
  for (const auto& [bucket, count] : later.latency_us)
    if (count > before(bucket)) out.latency_us[bucket] = count - before(bucket);
  return out;
}

Sample together(const Sample& earlier, const Sample& later) {
  auto out = later;
  out.requests += earlier.requests;
  out.errors += earlier.errors;
  out.succeeded += earlier.succeeded;
  out.total_us += earlier.total_us;
  for (const auto& [bucket, count] : earlier.latency_us) out.latency_us[bucket] += count;
  return out;
}

std::int64_t quantile_us(const Sample& sample, double part) {
  std::vector<std::pair<std::int64_t, std::int64_t>> buckets;
  std::int64_t all = 0;
  for (const auto& [bound, count] : sample.latency_us) {
    buckets.emplace_back(std::atoll(bound.c_str()), count);
    all += count;
  }
  std::sort(buckets.begin(), buckets.end());
  const auto rank = static_cast<std::int64_t>(std::ceil(part * static_cast<double>(all)));
  std::int64_t seen = 0;
  for (const auto& [bound, count] : buckets)
    if ((seen += count) >= rank) return bound;
  return 0;
}

Result<std::vector<Condition>> parse_guard(std::string_view text) {
  std::vector<Condition> out;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    LATHE_TRY(auto one, parse_condition(trim(text.substr(0, end))));
    out.push_back(std::move(one));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (out.empty()) return fail(Code::invalid, "guard: is empty; it must be like p99<50ms,errors<1%");
  return out;
}

std::optional<std::string> find_violation(const std::vector<Condition>& guard, const Sample& sample) {
  for (const auto& each : guard) {
    double value = 0;
    if (each.metric == "errors")
      value = sample.requests == 0 ? 0 : static_cast<double>(sample.errors) / static_cast<double>(sample.requests);
    else if (sample.succeeded == 0)
      continue;  // there are no times
    else if (each.metric == "mean")
      value = static_cast<double>(sample.total_us) / static_cast<double>(sample.succeeded);
    else
      value = static_cast<double>(quantile_us(sample, *quantile_of(each.metric)));
    if (value < each.limit || (each.or_equal && value <= each.limit)) continue;
    const auto shown = each.metric == "errors" ? fmt::format("{:.1f} %", value * 100) : print_time(value);
    return fmt::format("{} was {} over {} requests, the guard is {}", each.metric, shown, sample.requests, each.text);
  }
  return std::nullopt;
}

}  // namespace lathe::serving
